//! `$(NAME)` references: replaced by a variable's value, kept as they are if the variable is unknown; `$$` is a literal
//! dollar sign (upstream: `third_party/forked/golang/expansion`).

/// Replaces the references in `input`. `lookup` answers the value of a variable.
pub(crate) fn expand<'a>(input: &str, mut lookup: impl FnMut(&str) -> Option<&'a str>) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(position) = rest.find('$') {
        output.push_str(&rest[..position]);
        let after = &rest[position + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            output.push('$');
            rest = escaped;
        } else if let Some(reference) = after.strip_prefix('(') {
            let Some(end) = reference.find(')') else {
                output.push_str("$(");
                rest = reference;
                continue;
            };
            let name = &reference[..end];
            match lookup(name) {
                Some(value) => output.push_str(value),
                None => output.extend(["$(", name, ")"]),
            }
            rest = &reference[end + 1..];
        } else {
            output.push('$');
            // The character after a lone dollar sign cannot begin a reference, unless it is itself a dollar sign,
            // which was handled above.
            rest = after;
        }
    }
    output.push_str(rest);
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_as_upstream_does() {
        let check = |input: &str, expected: &str| {
            let lookup = |name: &str| match name {
                "VAR_A" => Some("A"),
                "VAR_B" => Some("B"),
                "VAR_REF" => Some("$(VAR_A)"),
                "VAR_EMPTY" => Some(""),
                _ => None,
            };
            assert_eq!(expand(input, lookup), expected, "{input}");
        };
        for (input, expected) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("$(VAR_A)-1 $(VAR_B)", "A-1 B"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("foo$(VAR_EMPTY)bar", "foobar"),
            ("$(MISSING)", "$(MISSING)"),
            ("$$(VAR_A)", "$(VAR_A)"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$$$(VAR_A)", "$$$(VAR_A)"),
            ("$(VAR_A", "$(VAR_A"),
            ("$(VAR_A $(VAR_B)", "$(VAR_A $(VAR_B)"),
            ("f000-$$VAR_A", "f000-$VAR_A"),
            ("$VAR_A", "$VAR_A"),
            ("$\\(VAR_A)", "$\\(VAR_A)"),
            ("foo\\$(VAR_A)", "foo\\A"),
            ("$(VAR_A)$", "A$"),
            ("$()", "$()"),
            ("$ü$(VAR_A)", "$üA"),
            ("", ""),
            ("\n", "\n"),
        ] {
            check(input, expected);
        }
    }
}
