//! JSON as text: is it one valid object, where is a field, what are its members. Nothing here builds a
//! tree.
//!
//! - `check`: [`is_object`] walks untrusted text once and says whether it is one JSON object
//! - `walk`: [`members`], [`get`] and the like walk text that has passed that check, and therefore look
//!   only at brackets and quotes
//! - `lookup`: [`Lookup`], several paths in one such walk
//! - `flatten`: [`flatten`], the leaves of an object
//! - `replace`: [`replace`], an object with some members changed
//! - `strings`: [`map_strings`], a value with some of its strings changed
//! - `write`: strings with their escapes
//! - `marks`: where strings end, sixty-four bytes at a time, for all of them

mod check;
mod flatten;
mod lookup;
mod marks;
mod replace;
mod strings;
mod walk;
mod write;

pub use check::{MAX_DEPTH, is_object};
pub use flatten::flatten;
pub use lookup::Lookup;
pub use replace::replace;
pub use strings::map_strings;
pub use walk::{Members, elements, get, key_is, members, unescape, without};
pub use write::{string, write_escaped, write_string};

#[cfg(test)]
mod tests;
