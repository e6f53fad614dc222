//! Go's text templates over JSON values, as `--format` and `inspect -f` take them.
//!
//! Scripts written for Docker lean on Go's `text/template` and on the few functions that Docker adds
//! (`json`, `join`, `split`, …); this is that language without Go's reflection: the data is a JSON
//! value, so a missing key, `null` and numbers behave as they do for decoded JSON in Go. Pure: text and
//! a value in, text or a positioned error out.

mod escape;
mod eval;
mod format;
mod functions;
mod lexer;
mod parser;
mod tree;

use std::fmt;

use serde_json::Value;

/// A parsed template. Parse once, render for each row.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<tree::Node>,
    definitions: tree::Definitions,
}

/// What the data offers beyond its keys.
#[derive(Default)]
pub(crate) struct Options<'a> {
    /// An unknown key of something that looks like a Go struct (every key begins with a capital) is an
    /// error, as Docker has it for `inspect`; keys of other maps (labels) may always be missing.
    pub(crate) strict: bool,
    /// Fields that take arguments, such as `.Label "name"` of `ps`. `None`: there is no such field.
    pub(crate) methods: Option<&'a Methods<'a>>,
    /// How a field that is `null` prints, by its name, where Go would know its type: `[]` for a list. `None`: `<no value>`.
    pub(crate) nulls: Option<fn(&str) -> Option<&'static str>>,
}

/// Name and arguments of a method-like field to its value.
pub(crate) type Methods<'a> = dyn Fn(&str, &[Value]) -> Option<Result<Value, String>> + 'a;

/// Where and why a template cannot be read or carried out, worded as Go words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    /// From 1.
    line: usize,
    /// Bytes from the line's start, and the expression; only known while it is carried out.
    at: Option<(usize, String)>,
    message: String,
    /// The `{{define}}` in which it happened; `None`: outside of any.
    within: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            None => write!(f, "template: :{}: {}", self.line, self.message),
            Some((column, text)) => write!(
                f,
                "template: :{}:{}: executing {:?} at <{}>: {}",
                self.line,
                column,
                self.within.as_deref().unwrap_or_default(),
                shorten(text),
                self.message
            ),
        }
    }
}

impl std::error::Error for Error {}

impl Template {
    /// Reads a template. The error names the line.
    pub(crate) fn parse(source: &str) -> Result<Template, Error> {
        let tokens = lexer::lex(source)?;
        let (nodes, definitions) = parser::parse(source, tokens)?;
        Ok(Template { nodes, definitions })
    }

    /// The template's text for `data`.
    pub(crate) fn render(&self, data: &Value, options: &Options<'_>) -> Result<String, Error> {
        eval::render(&self.nodes, &self.definitions, data, options)
    }

    /// The names of the top-level fields that plain `{{.Field}}` actions print, in order: the columns
    /// of a `table` format, from which its header is made.
    pub(crate) fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        self.nodes.iter().map(|node| match node {
            tree::Node::Text(text) => Column::Text(text),
            tree::Node::Action(pipeline) => pipeline.first_field().map_or(Column::Other, Column::Field),
            _ => Column::Other,
        })
    }
}

/// A piece of a `table` format.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Column<'a> {
    /// Text between the fields, tabs as a rule.
    Text(&'a str),
    /// The action shows this field.
    Field(&'a str),
    /// Control flow or an expression without a field: nothing in the header.
    Other,
}

/// Go shows at most twenty characters of the expression.
fn shorten(text: &str) -> String {
    if text.len() <= 20 {
        return text.to_owned();
    }
    text.chars().take(20).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests;
