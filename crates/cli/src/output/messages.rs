//! The JSON form of progress, for programs: one object for each line, as Docker's engine sends them to its clients (`jsonmessage`), so that what reads
//! those reads these.
//!
//! It knows no terminal and no clock: whoever calls says when a line is worth having.

use serde_json::{Value, json};

use super::plain::plain;

/// Something that happened, as a person would be told it.
pub(crate) fn status(text: &str) -> Value {
    json!({ "status": plain(text) })
}

/// How far one layer is; `moved`: so many of so many bytes, where the total is known.
pub(crate) fn layer(id: &str, text: &str, moved: Option<(u64, Option<u64>)>) -> Value {
    let detail = match moved {
        None => json!({}),
        Some((current, None)) => json!({ "current": current }),
        Some((current, Some(total))) => json!({ "current": current, "total": total }),
    };
    json!({ "status": text, "progressDetail": detail, "id": id })
}

/// A line of a command's own output.
pub(crate) fn stream(text: &str) -> Value {
    json!({ "stream": format!("{}\n", plain(text)) })
}

/// What came of it all.
pub(crate) fn result(of: &Value) -> Value {
    json!({ "aux": of })
}

/// It failed. The same is said on standard error, and the exit code tells it as well.
pub(crate) fn failure(text: &str) -> Value {
    json!({ "errorDetail": { "message": text }, "error": text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_docker_s_engine_sends_them() {
        let lines = [
            (status("Digest: sha256:0"), r#"{"status":"Digest: sha256:0"}"#),
            (
                layer("0123456789ab", "Queued", None),
                r#"{"id":"0123456789ab","progressDetail":{},"status":"Queued"}"#,
            ),
            (
                layer("a", "Downloading", Some((1, Some(2)))),
                r#"{"id":"a","progressDetail":{"current":1,"total":2},"status":"Downloading"}"#,
            ),
            (
                layer("a", "Loading", Some((1, None))),
                r#"{"id":"a","progressDetail":{"current":1},"status":"Loading"}"#,
            ),
            (stream("Loaded image: a"), r#"{"stream":"Loaded image: a\n"}"#),
            (result(&json!({ "Size": 3 })), r#"{"aux":{"Size":3}}"#),
            (failure("no"), r#"{"error":"no","errorDetail":{"message":"no"}}"#),
        ];
        for (line, expected) in lines {
            let expected: Value = serde_json::from_str(expected).expect("JSON");
            assert_eq!(line, expected);
            assert!(!line.to_string().contains('\n'));
        }
    }
}
