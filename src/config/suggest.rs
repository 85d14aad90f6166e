//! "Did you mean ...?"

/// The known name that this one is most likely a slip of.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    // One letter in three may be wrong, and no more: a guess that is far off is worse than none.
    let most = (name.chars().count() / 3).max(1);
    // A name that is known elsewhere is not what was meant here.
    let near = known
        .into_iter()
        .filter(|other| *other != name)
        .map(|other| (distance(other), other))
        .filter(|(far, _)| *far <= most);
    near.min().map(|(_, other)| other)
}

/// The message of a name that is unknown, with the nearest known one instead of all of them: of those that
/// the message lists, and of `more`. Any other message stays as it is.
pub(super) fn suggest(message: &str, more: &[&str]) -> String {
    let unknown = ["unknown field `", "unknown variant `"].into_iter().find_map(|what| {
        let (name, rest) = message.strip_prefix(what)?.split_once('`')?;
        Some((&what[..what.len() - 1], name, rest))
    });
    let Some((what, name, rest)) = unknown else { return message.to_owned() };
    // Every second part between backticks is a name.
    let listed = rest.split('`').skip(1).step_by(2);
    match nearest(name, listed.chain(more.iter().copied())) {
        Some(near) => format!("{what}`{name}`; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_nearest() {
        for (name, expected) in [
            ("compresion", Some("compression")),
            ("Compression", Some("compression")),
            ("uir", Some("uri")),
            ("inputs", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, ["compression", "uri", "encoding"]), expected, "{name}");
        }
    }

    #[test]
    fn a_list_of_names_becomes_the_one_that_was_meant() {
        let list = "unknown field `encodin`, expected one of `uri`, `encoding`";
        assert_eq!(suggest(list, &[]), "unknown field `encodin`; did you mean `encoding`?");
        assert_eq!(
            suggest("unknown field `btch`, expected `uri`", &["batch"]),
            "unknown field `btch`; did you mean `batch`?"
        );
        for other in ["unknown field `q`, expected `uri`", "missing field `uri`"] {
            assert_eq!(suggest(other, &[]), other);
        }
    }
}
