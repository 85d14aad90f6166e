//! [`replace`]: an object with some of its root members changed.

use super::walk::Walk;
use super::write::string;

/// The object with these root members changed: each gets this JSON as its value, or goes; one that is not there
/// yet comes last. All others stay byte for byte as they are, and where they are. The object is checked text,
/// and the names are all different.
pub fn replace<V: AsRef<str>>(text: &str, changes: &[(&str, Option<V>)]) -> String {
    let more: usize = changes
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.as_ref().len()) + 4)
        .sum();
    let mut out = String::with_capacity(text.len() + more);
    let mut is_done = vec![false; changes.len()];
    let mut walk = Walk::new(text);
    let mut at = walk.space(walk.space(0) + 1);
    out.push('{');
    // What stays and is not copied yet, and whether a comma must stand before it.
    let (mut start, mut end, mut has_gap) = (at, at, false);
    while let Some(b'"') = walk.byte(at) {
        let key = walk.key(at);
        let value_end = walk.value(key.value);
        let next = walk.comma(value_end);
        let name = walk.name(&key);
        match changes.iter().position(|(changed, _)| *changed == name) {
            None => end = value_end,
            Some(which) => {
                let new = changes[which].1.as_ref().filter(|_| !std::mem::replace(&mut is_done[which], true));
                match new {
                    Some(new) => {
                        copy(&text[start..key.value], has_gap, &mut out);
                        out.push_str(new.as_ref());
                        (start, end, has_gap) = (value_end, value_end, false);
                    }
                    None => {
                        copy(&text[start..end], has_gap, &mut out);
                        (start, end, has_gap) = (next, next, out.len() > 1);
                    }
                }
            }
        }
        at = next;
    }
    copy(&text[start..end.max(start)], has_gap, &mut out);
    for ((name, value), is_done) in changes.iter().zip(is_done) {
        if let (Some(value), false) = (value, is_done) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&string(name));
            out.push(':');
            out.push_str(value.as_ref());
        }
    }
    out.push('}');
    out
}

fn copy(part: &str, has_gap: bool, out: &mut String) {
    if !part.is_empty() {
        if has_gap {
            out.push(',');
        }
        out.push_str(part);
    }
}
