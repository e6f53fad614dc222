//! Carries out a parsed template over a JSON value.
//!
//! Scopes, fields and the flow of `if`, `with` and `range` are here; functions are in their own file.
//! Values are borrowed from the data as long as nothing computes them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::functions::{self, Problem};
use super::tree::{Command, Definitions, Node, Operand, OperandKind, Pipeline, Place};
use super::{Error, Options, format};

/// A value of the data, or a computed one.
pub(super) type Datum<'d> = Cow<'d, Value>;

/// Templates within templates. Go allows 100000, which no useful format has and no stack of ours.
const DEEPEST: usize = 50;

/// `{{range 1000000000}}` would fill the memory before anybody sees it.
const LONGEST_COUNT: i64 = 1_000_000;

pub(super) fn render(
    nodes: &[Node],
    definitions: &Definitions,
    data: &Value,
    options: &Options<'_>,
) -> Result<String, Error> {
    let root = Cow::Borrowed(data);
    let mut run = Run {
        options,
        definitions,
        out: String::new(),
        variables: vec![("$".to_owned(), root.clone())],
        root: data,
        depth: 0,
    };
    run.nodes(nodes, &root)?;
    Ok(run.out)
}

/// Whether `if` takes the value for true: as Go, empty is false.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64().is_none_or(|f| f != 0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// What `range` does next.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'d, 'o> {
    options: &'o Options<'o>,
    out: String,
    variables: Vec<(String, Datum<'d>)>,
    root: &'d Value,
    definitions: &'o Definitions,
    /// Templates that are being carried out within one another.
    depth: usize,
}

impl<'d> Run<'d, '_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Datum<'d>) -> Result<Flow, Error> {
        for node in nodes {
            let known = self.variables.len();
            let flow = match node {
                Node::Text(text) => {
                    self.out.push_str(text);
                    Flow::Next
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        let null = self.options.nulls.filter(|_| value.is_null());
                        let typed = null.and_then(|nulls| nulls(pipeline.only_field()?));
                        match typed {
                            Some(text) => self.out.push_str(text),
                            None => self.out.push_str(&format::shown(&value)),
                        }
                    }
                    Flow::Next
                }
                Node::If { condition, then, otherwise } => {
                    let value = self.pipeline(condition, dot)?;
                    let flow = self.nodes(if truth(&value) { then } else { otherwise }, dot)?;
                    self.variables.truncate(known);
                    flow
                }
                Node::With { value, then, otherwise } => {
                    let value = self.pipeline(value, dot)?;
                    let flow =
                        if truth(&value) { self.nodes(then, &value) } else { self.nodes(otherwise, dot) }?;
                    self.variables.truncate(known);
                    flow
                }
                Node::Range { over, body, otherwise } => {
                    let flow = self.range(over, body, otherwise, dot)?;
                    self.variables.truncate(known);
                    flow
                }
                Node::Template { name, data, place } => {
                    let value = match data {
                        Some(pipeline) => self.value_of(pipeline, dot)?,
                        None => Cow::Owned(Value::Null),
                    };
                    self.template(name, place, value)?;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn template(&mut self, name: &str, place: &Place, data: Datum<'d>) -> Result<(), Error> {
        let Some(body) = self.definitions.get(name) else {
            return fail(place, format!("template {name:?} not defined"));
        };
        if self.depth == DEEPEST {
            return fail(place, format!("exceeded maximum template depth ({DEEPEST})"));
        }
        self.depth += 1;
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
        let done = self.nodes(body, &data);
        self.variables = variables;
        self.depth -= 1;
        done.map(|_| ()).map_err(|mut error| {
            error.within.get_or_insert_with(|| name.to_owned());
            error
        })
    }

    fn range(
        &mut self,
        over: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Datum<'d>,
    ) -> Result<Flow, Error> {
        let place = &over.commands[0].operands[0].place;
        let value = self.value_of(over, dot)?;
        let pairs: Vec<(Value, Datum<'d>)> = match value {
            Cow::Borrowed(Value::Array(items)) => {
                items.iter().enumerate().map(|(n, item)| (n.into(), Cow::Borrowed(item))).collect()
            }
            Cow::Borrowed(Value::Object(map)) => {
                sorted(map).map(|(k, v)| (k.clone().into(), Cow::Borrowed(v))).collect()
            }
            other => match other.into_owned() {
                Value::Null => Vec::new(),
                Value::Array(items) => {
                    items.into_iter().enumerate().map(|(n, item)| (n.into(), Cow::Owned(item))).collect()
                }
                Value::Object(map) => {
                    sorted(&map).map(|(k, v)| (k.clone().into(), Cow::Owned(v.clone()))).collect()
                }
                Value::Number(n) if n.as_i64().is_some_and(|n| n <= LONGEST_COUNT) => {
                    (0..n.as_i64().unwrap_or(0))
                        .map(|n| (Value::from(n), Cow::Owned(Value::from(n))))
                        .collect()
                }
                other => return fail(place, format!("range can't iterate over {}", format::plain(&other))),
            },
        };
        if pairs.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let known = self.variables.len();
        for (key, item) in pairs {
            match over.variables.as_slice() {
                [] => {}
                [one] => self.set(one, over.declares, item.clone()),
                [first, second, ..] => {
                    self.set(first, over.declares, Cow::Owned(key));
                    self.set(second, over.declares, item.clone());
                }
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(known);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &str, declares: bool, value: Datum<'d>) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, place)) if !declares => *place = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Datum<'d>) -> Result<Datum<'d>, Error> {
        let value = self.value_of(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, pipeline.declares, value.clone());
        }
        Ok(value)
    }

    fn value_of(&mut self, pipeline: &Pipeline, dot: &Datum<'d>) -> Result<Datum<'d>, Error> {
        let mut passed = None;
        for command in &pipeline.commands {
            passed = Some(self.command(command, dot, passed)?);
        }
        Ok(passed.unwrap_or(Cow::Owned(Value::Null)))
    }

    /// `passed` is what the stage before gave: the last argument.
    fn command(
        &mut self,
        command: &Command,
        dot: &Datum<'d>,
        passed: Option<Datum<'d>>,
    ) -> Result<Datum<'d>, Error> {
        let (first, rest) = (&command.operands[0], &command.operands[1..]);
        if let OperandKind::Function(function) = &first.kind {
            return self.call(function, &command.operands, &command.place, dot, passed);
        }
        if rest.is_empty() && passed.is_none() {
            return self.operand(first, dot);
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?.into_owned());
        }
        arguments.extend(passed.map(Cow::into_owned));
        let (receiver, names): (Datum<'d>, &[String]) = match &first.kind {
            OperandKind::Field(names) => (dot.clone(), names),
            OperandKind::Variable(name, names) => (self.variable(name), names),
            _ => {
                return fail(
                    &first.place,
                    format!("can't give argument to non-function {}", first.place.text),
                );
            }
        };
        let is_root = matches!(&receiver, Cow::Borrowed(value) if std::ptr::eq(*value, self.root));
        if let ([name], Some(methods), true) = (names, self.options.methods, is_root) {
            match methods(name, &arguments) {
                Some(Ok(value)) => return Ok(Cow::Owned(value)),
                Some(Err(message)) => return fail(&first.place, format!("error calling {name}: {message}")),
                None => {}
            }
        }
        let name = names.last().map_or("$", String::as_str);
        fail(&first.place, format!("{name} has arguments but cannot be invoked as function"))
    }

    /// `operands` begin with the function; `place` is the whole call.
    fn call(
        &mut self,
        function: &functions::Function,
        operands: &[Operand],
        place: &Place,
        dot: &Datum<'d>,
        passed: Option<Datum<'d>>,
    ) -> Result<Datum<'d>, Error> {
        let rest = &operands[1..];
        let count = rest.len() + usize::from(passed.is_some());
        if count < function.least || count > function.most {
            let wanted = if function.most == usize::MAX {
                format!("at least {}", function.least)
            } else {
                function.most.to_string()
            };
            let message = format!("wrong number of args for {}: want {wanted} got {count}", function.name);
            return fail(&operands[0].place, message);
        }
        // `and` and `or` look at no argument after the one that decides (Go 1.18).
        if let Some(deciding) = function.short_circuit {
            let mut value = Cow::Owned(Value::Null);
            for operand in rest {
                value = self.operand(operand, dot)?;
                if truth(&value) == deciding {
                    return Ok(value);
                }
            }
            return Ok(passed.unwrap_or(value));
        }
        let mut arguments = Vec::with_capacity(count);
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(passed);
        match (function.run)(&arguments) {
            Ok(value) => Ok(Cow::Owned(value)),
            Err(Problem::Call(message)) => fail(place, format!("error calling {}: {message}", function.name)),
            Err(Problem::Argument { at, expected }) => match rest.get(at) {
                Some(Operand { place, kind: OperandKind::Literal(_) }) => {
                    let expected = if expected == "int" { "integer" } else { expected };
                    fail(place, format!("expected {expected}; found {}", place.text))
                }
                operand => {
                    let place = operand.map_or(place, |operand| &operand.place);
                    let got = format::type_name(&arguments[at]);
                    fail(place, format!("wrong type for value; expected {expected}; got {got}"))
                }
            },
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Datum<'d>) -> Result<Datum<'d>, Error> {
        match &operand.kind {
            OperandKind::Dot => Ok(dot.clone()),
            OperandKind::Nil => Ok(Cow::Owned(Value::Null)),
            OperandKind::Literal(value) => Ok(Cow::Owned(value.clone())),
            OperandKind::Field(names) => self.fields(dot.clone(), names, &operand.place),
            OperandKind::Variable(name, names) => self.fields(self.variable(name), names, &operand.place),
            OperandKind::Function(function) => {
                self.call(function, std::slice::from_ref(operand), &operand.place, dot, None)
            }
            OperandKind::Nested(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                self.fields(value, names, &operand.place)
            }
        }
    }

    fn variable(&self, name: &str) -> Datum<'d> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map_or(Cow::Owned(Value::Null), |(_, value)| value.clone())
    }

    fn fields(&self, start: Datum<'d>, names: &[String], place: &Place) -> Result<Datum<'d>, Error> {
        let mut value = start;
        for name in names {
            value = match value {
                Cow::Borrowed(value) => self.field(value, name, place)?.map_or(NULL, Cow::Borrowed),
                Cow::Owned(value) => self.field(&value, name, place)?.cloned().map_or(NULL, Cow::Owned),
            };
        }
        Ok(value)
    }

    fn field<'v>(&self, value: &'v Value, name: &str, place: &Place) -> Result<Option<&'v Value>, Error> {
        let map = match value {
            Value::Object(map) => map,
            Value::Null if !self.options.strict => return Ok(None),
            Value::Null => return fail(place, format!("nil pointer evaluating interface {{}}.{name}")),
            other => {
                return fail(
                    place,
                    format!("can't evaluate field {name} in type {}", format::type_name(other)),
                );
            }
        };
        if let Some(found) = map.get(name) {
            return Ok(Some(found));
        }
        if !looks_like_struct(map) {
            return Ok(None);
        }
        // Go's field names and Docker's JSON names differ in case alone: `.ID` is `"Id"`.
        let near = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        match near {
            None if self.options.strict => fail(place, format!("map has no entry for key {name:?}")),
            near => Ok(near),
        }
    }
}

const NULL: Datum<'static> = Cow::Owned(Value::Null);

/// Docker's documents spell a struct's fields with capitals; labels, ports and options are not.
fn looks_like_struct(map: &Map<String, Value>) -> bool {
    !map.is_empty() && map.keys().all(|key| key.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// Go walks maps in the order of their keys.
pub(super) fn sorted(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter()
}

fn fail<T>(place: &Place, message: String) -> Result<T, Error> {
    Err(Error { line: place.line, at: Some((place.column, place.text.clone())), message, within: None })
}
