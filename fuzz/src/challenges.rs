//! `WWW-Authenticate`, a header a line: what a registry may say before anybody has shown who he is.

/// Whatever it says is read, and of what is understood nothing is made up.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for words in onggi_registry::challenges(text.split('\n')) {
        // A value is made of the header's own letters, without the backslashes of quoting.
        for word in words {
            let plain = |text: &str| text.chars().filter(|letter| *letter != '\\').collect::<String>();
            assert!(plain(text).contains(&plain(&word)), "{word:?}");
        }
    }
}
