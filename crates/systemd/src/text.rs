//! Values as people write them in annotations: GVariant's text (`uint64 5`, `'text'`, `['a', 'b']`, `@as []`). Pure.

use crate::value::{Value, split};

/// The value, or why it is none. As with runc a number without a type is an `int32`, or with a point a `double`.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(None, 0)?;
    let rest = parser.rest.trim();
    if rest.is_empty() { Ok(value) } else { Err(format!("{rest:?} follows the value")) }
}

/// Types that have a name (GVariant text format, "Type Annotations").
const NAMES: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

const DEEPEST: usize = 16;

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, token: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Up to what separates words.
    fn word(&mut self) -> String {
        let trimmed = self.rest.trim_start();
        let ends = |c: char| c.is_whitespace() || ",[]()<>{}'\"".contains(c);
        let (word, rest) = trimmed.split_at(trimmed.find(ends).unwrap_or(trimmed.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("it is nested too deep".into());
        }
        if self.eat('@') {
            let (signature, rest) =
                self.rest.split_once(char::is_whitespace).ok_or("a type without a value")?;
            if !split(signature.as_bytes(), DEEPEST).is_ok_and(|(_, rest)| rest.is_empty()) {
                return Err(format!("{signature:?} is no type"));
            }
            self.rest = rest;
            return self.value(Some(signature), depth + 1);
        }
        if self.eat('[') {
            return self.array(wanted, depth);
        }
        if self.eat('(') {
            return self.structure(wanted, depth);
        }
        if self.eat('<') {
            let value = self.value(None, depth + 1)?;
            return if self.eat('>') {
                Ok(Value::Variant(Box::new(value)))
            } else {
                Err("a `>` is missing".into())
            };
        }
        for quote in ['\'', '"'] {
            if self.eat(quote) {
                return self.text(quote, wanted);
            }
        }
        let word = self.word();
        match NAMES.iter().find(|(name, _)| *name == word) {
            Some((_, signature)) => self.value(Some(signature), depth + 1),
            None => scalar(&word, wanted),
        }
    }

    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let mut element = match wanted {
            None => None,
            Some(wanted) => Some(wanted.strip_prefix('a').ok_or("an array where none is wanted")?.to_owned()),
        };
        let mut values = Vec::new();
        while !self.eat(']') {
            if !values.is_empty() && !self.eat(',') {
                return Err("a `,` or `]` is missing".into());
            }
            let value = self.value(element.as_deref(), depth + 1)?;
            if *element.get_or_insert_with(|| value.signature()) != value.signature() {
                return Err("the values of an array have one type".into());
            }
            values.push(value);
        }
        let element = element.ok_or("the type of an empty array has to be given, as in @as []")?;
        Ok(Value::Array(element, values))
    }

    fn structure(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, String> {
        let mut types = match wanted {
            None => None,
            Some(wanted) => {
                let inner = wanted.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
                Some(inner.ok_or("a structure where none is wanted")?)
            }
        };
        let mut fields = Vec::new();
        while !self.eat(')') {
            if !fields.is_empty() && !self.eat(',') {
                return Err("a `,` or `)` is missing".into());
            }
            let mut one = None;
            if let Some(left) = types {
                let (first, _) =
                    split(left.as_bytes(), DEEPEST).map_err(|_| "a structure has too many fields")?;
                let (first, after) = left.split_at(first.len());
                (one, types) = (Some(first), Some(after));
            }
            fields.push(self.value(one, depth + 1)?);
        }
        if fields.is_empty() || types.is_some_and(|left| !left.is_empty()) {
            return Err("a structure has too few fields".into());
        }
        Ok(Value::Struct(fields))
    }

    fn text(&mut self, quote: char, wanted: Option<&str>) -> Result<Value, String> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.rest = &self.rest[at + 1..];
                return match wanted {
                    None | Some("s") => Ok(Value::String(text)),
                    Some("o") => Ok(Value::ObjectPath(text)),
                    Some("g") => Ok(Value::Signature(text)),
                    Some(other) => Err(format!("a text where a value of type {other} is wanted")),
                };
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            text.push(match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(escaped @ ('\\' | '\'' | '"')) => escaped,
                _ => return Err("an unknown escape".into()),
            });
        }
        Err("a text without an end".into())
    }
}

fn scalar(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    fn number<T: std::str::FromStr>(word: &str, of: fn(T) -> Value) -> Result<Value, String> {
        word.parse().map(of).map_err(|_| format!("{word:?} is no value of this type"))
    }
    match wanted {
        None | Some("b") if word == "true" || word == "false" => Ok(Value::Boolean(word == "true")),
        Some("y") => number(word, Value::Byte),
        Some("n") => number(word, Value::Int16),
        Some("q") => number(word, Value::Uint16),
        Some("u") => number(word, Value::Uint32),
        Some("x") => number(word, Value::Int64),
        Some("t") => number(word, Value::Uint64),
        Some("d") => number(word, Value::Double),
        None if word.contains('.') => number(word, Value::Double),
        None | Some("i") => number(word, Value::Int32),
        Some(other) => Err(format!("{word:?} is no value of type {other}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_have_types() {
        let pair = |name: &str, number: u64| Value::Struct(vec![name.into(), number.into()]);
        for (text, expected) in [
            ("true", Value::Boolean(true)),
            (" 123 ", Value::Int32(123)),
            ("1.5", Value::Double(1.5)),
            ("uint64 18446744073709551615", Value::Uint64(u64::MAX)),
            ("@t 5", Value::Uint64(5)),
            ("byte 7", Value::Byte(7)),
            ("'control-group'", "control-group".into()),
            (r#""a 'b' \\ \" c""#, "a 'b' \\ \" c".into()),
            ("objectpath '/a'", Value::ObjectPath("/a".into())),
            ("['a.service', 'b']", Value::strings(&["a.service", "b"])),
            ("@as []", Value::strings(&[])),
            ("@ay [1, 2]", Value::bytes(&[1, 2])),
            ("<'x'>", Value::Variant(Box::new("x".into()))),
            ("('a', uint32 2)", Value::Struct(vec!["a".into(), Value::Uint32(2)])),
            ("@a(st) [('a', 1), ('b', 2)]", Value::Array("(st)".into(), vec![pair("a", 1), pair("b", 2)])),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            "word",
            "'open",
            "[",
            "[]",
            "[1, 'a']",
            "1 2",
            "byte 256",
            "@z 1",
            "@(tt) (1, 2, 3)",
            "@(tt) (1)",
            "()",
            "@",
            "int32 'a'",
            "uint64",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"<".repeat(5000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_refused(text in "[@<>()\\[\\]a-z0-9 ,'\"\\\\.-]{0,32}") {
            let _ = parse(&text);
        }
    }
}
