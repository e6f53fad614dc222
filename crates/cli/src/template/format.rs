//! How Go prints values: `%v`, and the verbs of `printf`.
//!
//! Follows Go's fmt package for what JSON can hold. A verb that does not fit its operand prints Go's
//! `%!d(string=x)` rather than failing, as Go does.

use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::eval::{Datum, sorted};
use crate::output::plain::quoted;

/// Go refuses wider fields (fmt: "tooLarge"), and so no format can ask for all memory.
const WIDEST: usize = 1_000_000;

/// A value as an action prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        other => plain(other),
    }
}

/// `%v`.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(number) => show_number(number),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = sorted(map).map(|(k, v)| format!("{k}:{}", plain(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

/// The type that Go would name for decoded JSON.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// `%v` of a floating number is `%g` with exponents below −4 and from 21 on.
fn show_number(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => show_float(float),
        _ => number.to_string(),
    }
}

fn show_float(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        return exponent(&format!("{float:e}"));
    }
    format!("{float}")
}

/// Rust writes `1e-7`, Go `1e-07`.
fn exponent(text: &str) -> String {
    let Some((mantissa, power)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `Sprintf`.
pub(super) fn printf(format: &str, arguments: &[Datum<'_>]) -> String {
    let mut out = String::new();
    let mut rest = arguments.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = characters.peek() {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                '0' => flags.zero = true,
                ' ' => flags.space = true,
                _ => break,
            }
            characters.next();
        }
        let mut number = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if characters.next_if_eq(&'*').is_some() {
                let wide = rest.next().and_then(|v| v.as_i64()).and_then(|n| usize::try_from(n).ok());
                return wide.map(|n| n.min(WIDEST));
            }
            let mut found = None;
            while let Some(digit) = characters.peek().and_then(|c| c.to_digit(10)) {
                characters.next();
                found = Some((found.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
            }
            found
        };
        flags.width = number(&mut characters);
        if characters.next_if_eq(&'.').is_some() {
            flags.precision = Some(number(&mut characters).unwrap_or(0));
        }
        match characters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match rest.next() {
                None => {
                    let _ = write!(out, "%!{verb}(MISSING)");
                }
                Some(value) => out.push_str(&verb_text(verb, value, &flags)),
            },
        }
    }
    let extra: Vec<String> =
        rest.map(|v| if v.is_null() { plain(v) } else { format!("{}={}", type_name(v), plain(v)) }).collect();
    if !extra.is_empty() {
        let _ = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn verb_text(verb: char, value: &Value, flags: &Flags) -> String {
    let text = match (verb, value) {
        ('v', Value::String(text)) if flags.sharp => quoted(text),
        ('v' | 's', Value::Array(_) | Value::Object(_)) | ('v', _) => cut(&plain(value), flags),
        ('s', Value::String(text)) => cut(text, flags),
        ('q', Value::String(text)) => quoted(&cut(text, flags)),
        ('x' | 'X', Value::String(text)) => {
            let hex = text.bytes().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            if verb == 'X' { hex.to_uppercase() } else { hex }
        }
        ('t', Value::Bool(b)) => b.to_string(),
        ('T', value) => type_name(value).to_owned(),
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U', Value::Number(n)) if !n.is_f64() => {
            return pad(&integer(verb, n, flags), flags, true);
        }
        ('f' | 'F' | 'e' | 'E' | 'g' | 'G', Value::Number(n)) if n.is_f64() => {
            return pad(&float(verb, n.as_f64().unwrap_or(0.0), flags), flags, true);
        }
        ('s', Value::Null) => "%!s(<nil>)".to_owned(),
        (verb, Value::Null) => format!("%!{verb}(<nil>)"),
        (verb, value) => format!("%!{verb}({}={})", type_name(value), plain(value)),
    };
    pad(&text, flags, false)
}

fn integer(verb: char, number: &Number, flags: &Flags) -> String {
    let (negative, magnitude) = match number.as_i64() {
        Some(signed) => (signed < 0, signed.unsigned_abs()),
        None => (false, number.as_u64().unwrap_or(0)),
    };
    let character = u32::try_from(magnitude).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let digits = match verb {
        'b' => format!("{magnitude:b}"),
        'o' if flags.sharp => format!("0{magnitude:o}"),
        'o' => format!("{magnitude:o}"),
        'O' => format!("0o{magnitude:o}"),
        'x' if flags.sharp => format!("{magnitude:#x}"),
        'x' => format!("{magnitude:x}"),
        'X' if flags.sharp => format!("0X{magnitude:X}"),
        'X' => format!("{magnitude:X}"),
        'c' => return character.to_string(),
        'q' => return format!("'{character}'"),
        'U' => return format!("U+{magnitude:04X}"),
        _ => magnitude.to_string(),
    };
    let digits = format!("{digits:0>width$}", width = flags.precision.unwrap_or(0));
    format!("{}{digits}", sign(negative, flags))
}

fn float(verb: char, number: f64, flags: &Flags) -> String {
    let precision = flags.precision.unwrap_or(6);
    let magnitude = number.abs();
    let digits = match verb {
        'f' | 'F' => format!("{magnitude:.precision$}"),
        'e' | 'E' => exponent(&format!("{magnitude:.precision$e}")),
        _ => show_float(magnitude),
    };
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    format!("{}{digits}", sign(number.is_sign_negative(), flags))
}

fn sign(negative: bool, flags: &Flags) -> &'static str {
    match (negative, flags.plus, flags.space) {
        (true, _, _) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

/// A precision shortens text to so many characters.
fn cut(text: &str, flags: &Flags) -> String {
    match flags.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

fn pad(text: &str, flags: &Flags, number: bool) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return text.to_owned();
    }
    if flags.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    if flags.zero && number {
        let (sign, digits) = match text.strip_prefix(['-', '+', ' ']) {
            Some(digits) => text.split_at(text.len() - digits.len()),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
