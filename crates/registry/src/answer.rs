//! What an answer that is no success says: the errors of the distribution specification, and Docker's words for them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use onggi_image::excerpt;
use serde::Deserialize;

use crate::http::head::Head;

/// The longest body that is read for an error's sake.
pub(crate) const LIMIT: u64 = 64 << 10;

/// What the body of a failure says, as `code: message`; what it cannot be read as, by its status.
pub(crate) fn message(head: &Head, body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<One>,
        /// Token servers and proxies have forms of their own.
        #[serde(default, alias = "message", alias = "error")]
        details: Option<String>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    let text = answer.and_then(|answer| match answer.errors.into_iter().next() {
        Some(One { code, message }) => {
            let code = code.to_ascii_lowercase().replace('_', " ");
            Some([code, message].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))
        }
        None => answer.details,
    });
    let text = text.or_else(|| sentence(head, body));
    let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| {
        let reason = if head.reason.is_empty() { name(head.status) } else { &head.reason };
        format!("{} {reason}", head.status).trim_end().to_owned()
    });
    excerpt(&text)
}

/// The first line of a body that is plain text: what some registries and proxies say in place of the protocol's JSON.
fn sentence(head: &Head, body: &[u8]) -> Option<String> {
    let kind = head.header("content-type").unwrap_or("text/plain");
    let line = std::str::from_utf8(body).ok()?.lines().next()?.trim();
    let is_text = kind.starts_with("text/plain") && !line.starts_with(['<', '{', '[']);
    is_text.then(|| line.to_owned())
}

fn name(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// How long the server asks to wait, by its `Retry-After`.
pub(crate) fn wait(head: &Head) -> Option<Duration> {
    retry_after(head, Timestamp::now())
}

/// `Retry-After`: seconds, or a date.
fn retry_after(head: &Head, now: Timestamp) -> Option<Duration> {
    let value = head.header("retry-after")?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number of ours has are still more than anybody waits.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    Some(Duration::try_from(date(value)?.duration_since(now)).unwrap_or_default())
}

/// A date in one of the three forms that recipients must read (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`,
/// `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`.
fn date(value: &str) -> Option<Timestamp> {
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let civil = forms.iter().find_map(|form| DateTime::strptime(form, value).ok())?;
    // The last days of the year 9999 are no timestamps any more.
    Some(civil.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |zoned| zoned.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(format!("HTTP/1.1 {text}\r\n\r\n").as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn failures_are_told_in_dockers_words() {
        for (status, body, expected) in [
            (
                "404 Not Found",
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
                "manifest unknown: manifest unknown",
            ),
            ("403 Forbidden", r#"{"errors":[{"code":"DENIED"}]}"#, "denied"),
            (
                "401 Unauthorized",
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            ("503 ", "<html>", "503 Service Unavailable"),
            ("403 Forbidden", "DENIED: no way\nsee above", "DENIED: no way"),
            ("403 Forbidden\r\nContent-Type: text/html", "no way", "403 Forbidden"),
            ("403 Forbidden", "", "403 Forbidden"),
            ("403 Forbidden", "{\"a\":1}", "403 Forbidden"),
            ("418 I'm a teapot", r#"{"errors":[]}"#, "418 I'm a teapot"),
        ] {
            assert_eq!(message(&head(status), body.as_bytes()), expected);
        }
        let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(9000));
        assert_eq!(message(&head("500 x"), long.as_bytes()).chars().count(), 201);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (value, seconds) in [
            ("7", Some(7)),
            ("99999999999999999999", Some(u64::MAX)),
            ("Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
            ("Thursday, 01-Jan-26 00:02:00 GMT", Some(120)),
            ("Thu Jan  1 00:03:00 2026", Some(180)),
            ("Wed, 31 Dec 2025 00:00:00 GMT", Some(0)),
            ("soon", None),
            ("", None),
            ("-1", None),
            ("1e9", None),
        ] {
            let head = head(&format!("429 x\r\nRetry-After: {value}"));
            assert_eq!(retry_after(&head, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
