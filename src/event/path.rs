//! Where a field is: `fly.app.name`, `tags[0]`, `"a key with.dots".b`.

use schemars::JsonSchema;
use serde::Deserialize;
use snafu::Snafu;
use std::fmt;
use vrl::path::{OwnedSegment, parse_value_path};

/// The path of a field, in VRL's syntax; a leading dot is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline, with = "String")]
pub struct Path {
    segments: Vec<Segment>,
}

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A key of an object.
    Field(Box<str>),
    /// A position in an array; a negative one counts from the end.
    Index(isize),
}

/// Why a text is not a path.
#[derive(Debug, Snafu)]
#[snafu(display(
    "`{text}` is not a field path; expected names joined by dots such as `fly.app.name`, \
     with a name of other characters than letters, digits, `_` and `@` in double quotes"
))]
pub struct PathError {
    text: String,
}

impl Path {
    /// Parses VRL's path syntax.
    ///
    /// # Errors
    /// If the text is no path, or is the empty path or one into an event's metadata (`%name`).
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let error = || PathError { text: text.to_owned() };
        let trimmed = text.trim();
        let parsed = parse_value_path(trimmed.strip_prefix('.').unwrap_or(trimmed)).map_err(|_| error())?;
        if parsed.segments.is_empty() {
            return Err(error());
        }
        let segments = parsed.segments.into_iter().map(|segment| match segment {
            OwnedSegment::Field(name) => Segment::Field(name.as_str().into()),
            OwnedSegment::Index(position) => Segment::Index(position),
        });
        Ok(Path { segments: segments.collect() })
    }

    /// A path made of these steps.
    pub fn from_segments(segments: Vec<Segment>) -> Path {
        Path { segments }
    }

    /// The path of a field of the root.
    pub fn root_field(name: &str) -> Path {
        Path { segments: vec![Segment::Field(name.into())] }
    }

    /// The path of a field below this one.
    #[must_use]
    pub fn field(mut self, name: &str) -> Path {
        self.segments.push(Segment::Field(name.into()));
        self
    }

    /// The steps from the root.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The field's name if it is one of the root itself.
    pub fn as_root_field(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [Segment::Field(name)] => Some(name),
            _ => None,
        }
    }

    /// The same path for VRL's own functions.
    pub fn to_vrl(&self) -> vrl::path::OwnedValuePath {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Field(name) => OwnedSegment::Field(name.as_ref().into()),
            Segment::Index(position) => OwnedSegment::Index(*position),
        });
        vrl::path::OwnedValuePath::from(segments.collect::<Vec<_>>())
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(text: String) -> Result<Path, PathError> {
        Path::parse(&text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_vrl().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(Path::parse(text).ok().map(|path| path.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn parses_paths() {
        check("a", Some("a"));
        check(".a.b", Some("a.b"));
        check(" fly.app.name ", Some("fly.app.name"));
        check("a[0].b[-1]", Some("a[0].b[-1]"));
        check("\"a b\".c", Some("\"a b\".c"));
        check("@timestamp", Some("@timestamp"));
        check("", None);
        check(".", None);
        check("a b", None);
        check("a..b", None);
        check("%meta", None);
    }
}
