//! The settings about registries: lists of hosts in one line of text.

/// The registry that a mirror is for unless it says so.
const HUB: &str = "docker.io";

/// `mirror.example, https://other:5000, quay.io=https://mirror.example`, in the order in which they are asked.
pub(crate) fn parse_mirrors(text: &str) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut mirrors: Vec<(String, Vec<String>)> = Vec::new();
    for entry in entries(text) {
        let (registry, mirror) = entry.split_once('=').unwrap_or((HUB, entry));
        let (registry, mirror) = (registry.trim(), mirror.trim());
        let host =
            mirror.strip_prefix("https://").or_else(|| mirror.strip_prefix("http://")).unwrap_or(mirror);
        let host = host.trim_end_matches('/');
        check(registry)?;
        check(host)?;
        let mirror = mirror.trim_end_matches('/').to_owned();
        match mirrors.iter_mut().find(|(known, _)| known == registry) {
            Some((_, known)) => known.push(mirror),
            None => mirrors.push((registry.to_owned(), vec![mirror])),
        }
    }
    Ok(mirrors)
}

pub(crate) fn show_mirrors(mirrors: &[(String, Vec<String>)]) -> String {
    let of_one = |(registry, hosts): &(String, Vec<String>)| {
        let named = hosts.iter().map(|host| format!("{registry}={host}"));
        if registry == HUB { hosts.join(", ") } else { named.collect::<Vec<_>>().join(", ") }
    };
    mirrors.iter().map(of_one).collect::<Vec<_>>().join(", ")
}

/// `localhost:5000, registry.example`.
pub(crate) fn parse_hosts(text: &str) -> Result<Vec<String>, String> {
    entries(text).map(|host| check(host).map(|()| host.to_owned())).collect()
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty())
}

fn check(host: &str) -> Result<(), String> {
    let sound =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if !host.is_empty() && host.bytes().all(sound) {
        return Ok(());
    }
    Err(format!("`{host}` is no host; write registry.example or localhost:5000, several with commas between"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read_and_shown() {
        let text = "mirror.example, http://localhost:5000/, quay.io=https://q.example";
        let mirrors = parse_mirrors(text).unwrap();
        assert_eq!(
            mirrors,
            [
                (
                    "docker.io".to_owned(),
                    vec!["mirror.example".to_owned(), "http://localhost:5000".to_owned()]
                ),
                ("quay.io".to_owned(), vec!["https://q.example".to_owned()]),
            ]
        );
        assert_eq!(parse_mirrors(&show_mirrors(&mirrors)).unwrap(), mirrors);
        assert_eq!(parse_mirrors(""), Ok(vec![]));
        assert!(parse_mirrors("https://mirror.example/path").unwrap_err().contains("is no host"));
        assert!(parse_hosts("a.example, http://b").unwrap_err().contains("`http://b`"));
        assert_eq!(parse_hosts("a.example,[::1]:5000").unwrap(), ["a.example", "[::1]:5000"]);
    }
}
