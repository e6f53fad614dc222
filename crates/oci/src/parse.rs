//! From the bytes of a document to its type, as programs written in Go write them.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A document of the specification's (a configuration, a process, resources). Go programs write `null` for an empty list.
///
/// # Errors
/// What is wrong with the text as it is.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|error| {
        let mut value: Value = serde_json::from_slice(bytes)?;
        drop_nulls(&mut value);
        // As a text again: a second way from JSON to every type would be a quarter of the program. The first error is about the text as
        // it is.
        serde_json::from_slice(&serde_json::to_vec(&value)?).map_err(|_| error)
    })
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spec;

    #[test]
    fn an_empty_list_of_a_go_program_is_null() {
        let spec: Spec =
            parse(br#"{"ociVersion":"1.2.0","mounts":null,"linux":{"namespaces":null}}"#).unwrap();
        assert!(spec.mounts.is_empty());
        let error = parse::<Spec>(br#"{"ociVersion":7}"#).unwrap_err().to_string();
        assert!(error.contains("expected a string"), "{error}");
    }
}
