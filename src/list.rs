//! Lists in one text, as variables of the environment hold them.

/// The items of a list that is divided by commas, but for those within the slashes of a regular expression.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let (mut is_regex, mut is_escaped) = (false, false);
    for c in text.chars() {
        let last = items.len() - 1;
        let item = &mut items[last];
        if c == ',' && !is_regex {
            items.push(String::new());
            continue;
        }
        if c == '/' && !is_escaped && (is_regex || item.trim().is_empty()) {
            is_regex = !is_regex;
        }
        is_escaped = c == '\\' && !is_escaped;
        item.push(c);
    }
    items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_regular_expression_divides_nothing() {
        assert_eq!(split("email, /a{1,2},\\/x/i ,,uuid"), ["email", "/a{1,2},\\/x/i", "uuid"]);
    }
}
