//! Sizes and times as Docker words them, so that scripts and eyes find what they know (`go-units`).

use jiff::Timestamp;
use onggi_engine::human::duration;

/// Powers of 1000 with at most `digits` significant digits: `4.27MB`, `117MB`.
pub(crate) fn size(bytes: u64, digits: usize) -> String {
    scaled(bytes, 1000.0, digits, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Powers of 1024 with four significant digits: `62.79GiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn scaled(bytes: u64, base: f64, digits: usize, units: &[&str]) -> String {
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= base && unit + 1 < units.len() {
        amount /= base;
        unit += 1;
    }
    // Go's %.*g: so many significant digits, no zeroes at the end.
    let whole = amount.abs().log10().floor().max(0.0) as usize + 1;
    let text = format!("{amount:.*}", digits.saturating_sub(whole));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// `3 days ago`; `N/A` for a time that is not known.
pub(crate) fn ago(moment: Option<Timestamp>, now: Timestamp) -> String {
    match moment {
        Some(moment) => format!("{} ago", duration(now.as_second() - moment.as_second())),
        None => "N/A".to_owned(),
    }
}

/// Go's `2006-01-02 15:04:05 -0700 MST`, as `CreatedAt` shows it.
pub(crate) fn created_at(moment: Option<Timestamp>) -> String {
    match moment {
        Some(moment) => {
            moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
        }
        None => "N/A".to_owned(),
    }
}

/// Reads RFC 3339. An empty text, Go's zero time, and the beginning of 1970, which reproducible builds write, are no time.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|moment: &Timestamp| moment.as_second() > 0)
}

/// At most so many characters, the last an ellipsis.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Digests as people know them: twelve digits, and no algorithm.
pub(crate) fn short_digests(text: &str) -> String {
    const NAME: &str = "sha256:";
    let mut parts = text.split(NAME);
    let mut short = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..64).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            Some(hex) => short.push_str(&format!("{}{}", &hex[..12], &part[64..])),
            None => short.push_str(&format!("{NAME}{part}")),
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, wanted) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1024, "1.02kB"),
            (4_268_541, "4.27MB"),
            (116_900_000, "117MB"),
            (999_900, "1e+03kB".replace("1e+03", "1000").as_str()),
            (1_234_567_890, "1.23GB"),
        ] {
            assert_eq!(size(bytes, 3), wanted, "{bytes}");
        }
        assert_eq!(binary_size(25_160_000_000), "23.43GiB");
        assert_eq!(binary_size(64 << 20), "64MiB");
    }

    #[test]
    fn digests_are_shortened_wherever_they_stand() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for (text, wanted) in [
            (
                format!("the blob {digest}: read https://a/v2/x/blobs/{digest}: no"),
                "the blob 0123456789ab: read https://a/v2/x/blobs/0123456789ab: no",
            ),
            (digest, "0123456789ab"),
            ("sha256:0123 sha256:".to_owned(), "sha256:0123 sha256:"),
            (format!("sha256:{}", "é".repeat(40)), &format!("sha256:{}", "é".repeat(40))),
        ] {
            assert_eq!(short_digests(&text), wanted);
        }
    }

    #[test]
    fn long_commands_are_shortened_as_docker_does() {
        assert_eq!(shorten("sleep 1000", 20), "sleep 1000");
        assert_eq!(shorten("/docker-entrypoint.sh nginx", 20), "/docker-entrypoint.…");
    }
}
