//! `WWW-Authenticate`: which kinds of credentials a server takes (RFC 9110, section 11).

/// One way of the several that a server may offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// All that are understood, in the server's order.
pub(crate) fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers {
        let mut rest = header.trim_start();
        while let Some((scheme, after)) = word(rest) {
            let mut parameters = Vec::new();
            rest = after;
            while let Some((name, value, after)) = parameter(rest) {
                parameters.push((name.to_ascii_lowercase(), value));
                rest = after.trim_start().strip_prefix(',').unwrap_or(after);
            }
            let find = |wanted: &str| {
                parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("basic") {
                challenges.push(Challenge::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = find("realm")
            {
                challenges.push(Challenge::Bearer { realm, service: find("service"), scope: find("scope") });
            }
            rest = rest.trim_start_matches([' ', '\t', ',']);
        }
    }
    challenges
}

/// The words of each, for the fuzzer.
#[cfg(fuzzing)]
pub fn words<'a>(headers: impl Iterator<Item = &'a str>) -> Vec<Vec<String>> {
    let words = |challenge| match challenge {
        Challenge::Basic => Vec::new(),
        Challenge::Bearer { realm, service, scope } => {
            std::iter::once(realm).chain(service).chain(scope).collect()
        }
    };
    parse(headers).into_iter().map(words).collect()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The first word, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `name=value` or `name="value"`, and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, after) = word(text.trim_start())?;
    let after = after.trim_start().strip_prefix('=')?.trim_start();
    let Some(quoted) = after.strip_prefix('"') else {
        let (value, after) = word(after)?;
        return Some((name, value.to_owned(), after));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name, value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn challenges_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push""#;
        let table: [(&[&str], Vec<Challenge>); 8] = [
            (
                &[hub],
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/debian:pull,push"),
                )],
            ),
            (&[r#"Basic realm="x""#], vec![Challenge::Basic]),
            (&["basic"], vec![Challenge::Basic]),
            (
                &[r#"Basic realm="a, b", Bearer realm="r" , service=s"#],
                vec![Challenge::Basic, bearer("r", Some("s"), None)],
            ),
            (&["Negotiate", r#"BEARER Realm="a\"b""#], vec![bearer("a\"b", None, None)]),
            (&[r#"Bearer service="x""#], vec![]),
            (&[r#"Bearer realm="x"#], vec![]),
            (&["", ",,", "=\"", "é"], vec![]),
        ];
        for (headers, expected) in table {
            assert_eq!(parse(headers.iter().copied()), expected, "{headers:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_hang(text in "(Bearer|Basic|,|=|\"|\\\\|a| |\t|é){0,12}") {
            let _ = parse(std::iter::once(text.as_str()));
        }
    }
}
