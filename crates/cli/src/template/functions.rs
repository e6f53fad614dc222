//! The functions of a template: Go's own and those that Docker adds.
//!
//! One table, which the parser uses to know a name and the evaluator to call it. What goes wrong is said
//! of an argument or of the whole call, as Go tells the two apart.

use std::cmp::Ordering;

use serde_json::Value;

use super::eval::{Datum, truth};
use super::{escape, format};

type Outcome = Result<Value, Problem>;

/// Why a call came to nothing.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// The function itself says so.
    Call(String),
    /// An argument, counted from 0, is not of the type that the function takes.
    Argument { at: usize, expected: &'static str },
}

impl From<String> for Problem {
    fn from(message: String) -> Problem {
        Problem::Call(message)
    }
}

/// A function and how many arguments it takes.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
    /// `and` stops at the first false argument, `or` at the first true one.
    pub(super) short_circuit: Option<bool>,
    pub(super) run: fn(&[Datum<'_>]) -> Outcome,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const MANY: usize = usize::MAX;

const fn function(
    name: &'static str,
    least: usize,
    most: usize,
    run: fn(&[Datum<'_>]) -> Outcome,
) -> Function {
    Function { name, least, most, short_circuit: None, run }
}

static FUNCTIONS: &[Function] = &[
    Function { short_circuit: Some(false), ..function("and", 1, MANY, last) },
    Function { short_circuit: Some(true), ..function("or", 1, MANY, last) },
    function("not", 1, 1, |a| Ok((!truth(&a[0])).into())),
    function("len", 1, 1, |a| Ok(length(&a[0])?.into())),
    function("index", 1, MANY, index),
    function("slice", 1, 4, slice),
    function("print", 0, MANY, |a| Ok(print(a).into())),
    function("println", 0, MANY, |a| {
        let words: Vec<String> = a.iter().map(|v| format::plain(v)).collect();
        Ok(format!("{}\n", words.join(" ")).into())
    }),
    function("printf", 1, MANY, |a| Ok(format::printf(text(a, 0)?, &a[1..]).into())),
    function("eq", 1, MANY, |a| {
        if a.len() == 1 {
            return Err(Problem::Call("missing argument for comparison".to_owned()));
        }
        Ok(a[1..].iter().try_fold(false, |any, v| Ok::<_, String>(any || equal(&a[0], v)?))?.into())
    }),
    function("ne", 2, 2, |a| Ok((!equal(&a[0], &a[1])?).into())),
    function("lt", 2, 2, |a| Ok((order(&a[0], &a[1])? == Ordering::Less).into())),
    function("le", 2, 2, |a| Ok((order(&a[0], &a[1])? != Ordering::Greater).into())),
    function("gt", 2, 2, |a| Ok((order(&a[0], &a[1])? == Ordering::Greater).into())),
    function("ge", 2, 2, |a| Ok((order(&a[0], &a[1])? != Ordering::Less).into())),
    function("json", 1, 1, |a| Ok(serde_json::to_string(&a[0]).map_err(|e| e.to_string())?.into())),
    function("join", 2, 2, join),
    function("split", 2, 2, |a| Ok(text(a, 0)?.split(text(a, 1)?).map(Value::from).collect())),
    function("lower", 1, 1, |a| Ok(text(a, 0)?.to_lowercase().into())),
    function("upper", 1, 1, |a| Ok(text(a, 0)?.to_uppercase().into())),
    function("title", 1, 1, |a| Ok(title(text(a, 0)?).into())),
    function("html", 1, MANY, |a| Ok(escape::html(&print(a)).into())),
    function("js", 1, MANY, |a| Ok(escape::js(&print(a)).into())),
    function("urlquery", 1, MANY, |a| Ok(escape::urlquery(&print(a)).into())),
    function("call", 1, MANY, |a| {
        Err(Problem::Call(format!("non-function of type {}", format::type_name(&a[0]))))
    }),
    function("pad", 3, 3, pad),
    function("truncate", 2, 2, |a| {
        let most = usize::try_from(number(a, 1)?).unwrap_or(0);
        Ok(text(a, 0)?.chars().take(most).collect::<String>().into())
    }),
];

fn last(arguments: &[Datum<'_>]) -> Outcome {
    Ok(arguments.last().map_or(Value::Null, |value| value.clone().into_owned()))
}

fn text<'v>(arguments: &'v [Datum<'_>], at: usize) -> Result<&'v str, Problem> {
    arguments[at].as_str().ok_or(Problem::Argument { at, expected: "string" })
}

fn number(arguments: &[Datum<'_>], at: usize) -> Result<i64, Problem> {
    arguments[at].as_i64().ok_or(Problem::Argument { at, expected: "int" })
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        // A list or a map of Docker's that is empty is often null.
        Value::Null => Ok(0),
        other => Err(format!("len of type {}", format::type_name(other))),
    }
}

fn index(arguments: &[Datum<'_>]) -> Outcome {
    let mut value: &Value = &arguments[0];
    for (n, key) in arguments[1..].iter().enumerate() {
        value = match value {
            Value::Null => return Err(Problem::Call("index of untyped nil".to_owned())),
            Value::Array(items) => {
                let at = key.as_i64().ok_or_else(|| {
                    format!("cannot index slice/array with type {}", format::type_name(key))
                })?;
                usize::try_from(at)
                    .ok()
                    .and_then(|at| items.get(at))
                    .ok_or_else(|| format!("index out of range: {at}"))?
            }
            Value::Object(map) => match map.get(text(arguments, n + 1)?) {
                Some(found) => found,
                // Go gives the zero value of the map's type: of labels and options, the empty string.
                None if n + 2 == arguments.len() && map.values().all(Value::is_string) => {
                    return Ok("".into());
                }
                None => &Value::Null,
            },
            Value::String(text) => {
                let at = number(arguments, n + 1)?;
                let byte = usize::try_from(at).ok().and_then(|at| text.as_bytes().get(at).copied());
                return Ok(byte.map(Value::from).ok_or_else(|| format!("index out of range: {at}"))?);
            }
            other => {
                return Err(Problem::Call(format!("can't index item of type {}", format::type_name(other))));
            }
        };
    }
    Ok(value.clone())
}

fn slice(arguments: &[Datum<'_>]) -> Outcome {
    let all = length(&arguments[0]).map_err(|_| "slice of untyped nil".to_owned())?;
    let bound = |n: usize, default: usize| match arguments.get(n) {
        None => Ok(default),
        Some(_) => {
            let at = number(arguments, n)?;
            let inside = usize::try_from(at).ok().filter(|at| *at <= all);
            inside.ok_or_else(|| Problem::Call(format!("index out of range: {at}")))
        }
    };
    let (from, to) = (bound(1, 0)?, bound(2, all)?);
    if from > to {
        return Err(Problem::Call(format!("invalid slice index: {from} > {to}")));
    }
    match &*arguments[0] {
        Value::String(_) if arguments.len() == 4 => {
            Err(Problem::Call("cannot 3-index slice a string".to_owned()))
        }
        Value::String(text) => Ok(String::from_utf8_lossy(&text.as_bytes()[from..to]).into()),
        Value::Array(items) => Ok(items[from..to].to_vec().into()),
        other => Err(Problem::Call(format!("can't slice item of type {}", format::type_name(other)))),
    }
}

/// Go's `Sprint`: a space between two operands when neither is text.
fn print(arguments: &[Datum<'_>]) -> String {
    let mut out = String::new();
    for (n, value) in arguments.iter().enumerate() {
        if n > 0 && !value.is_string() && !arguments[n - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&format::plain(value));
    }
    out
}

fn join(arguments: &[Datum<'_>]) -> Outcome {
    let separator = text(arguments, 1)?;
    match &*arguments[0] {
        Value::Null => Ok("".into()),
        Value::Array(items) => Ok(items.iter().map(format::plain).collect::<Vec<_>>().join(separator).into()),
        _ => Err(Problem::Argument { at: 0, expected: "[]string" }),
    }
}

fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .flat_map(|c| {
            let first = !inside && c.is_alphanumeric();
            inside = c.is_alphanumeric() || c == '_' || c == '\'';
            let upper = first.then(|| c.to_uppercase().collect::<String>());
            upper.unwrap_or_else(|| c.to_string()).chars().collect::<Vec<_>>()
        })
        .collect()
}

/// Docker's `pad`: spaces before and after, nothing for nothing.
fn pad(arguments: &[Datum<'_>]) -> Outcome {
    let text = text(arguments, 0)?;
    if text.is_empty() {
        return Ok(text.into());
    }
    let spaces =
        |at| Ok::<_, Problem>(" ".repeat(usize::try_from(number(arguments, at)?).unwrap_or(0).min(10_000)));
    Ok(format!("{}{text}{}", spaces(1)?, spaces(2)?).into())
}

fn equal(left: &Value, right: &Value) -> Result<bool, String> {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => Ok(left == right),
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable type".to_owned())
        }
        _ if matches!((left, right), (Value::Bool(_), Value::Bool(_))) => Ok(left == right),
        _ => order(left, right).map(|order| order == Ordering::Equal),
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, String> {
    let incompatible = || {
        let (left, right) = (format::type_name(left), format::type_name(right));
        format!("incompatible types for comparison: {left} and {right}")
    };
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Ok(left.cmp(&right)),
            // Go compares whole numbers with whole ones only.
            (Some(_), None) | (None, Some(_)) => Err(incompatible()),
            _ => left.as_f64().partial_cmp(&right.as_f64()).ok_or_else(incompatible),
        },
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
        _ => Err(incompatible()),
    }
}
