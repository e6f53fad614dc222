//! A template as a tree: what the parser makes of the tokens, and what is evaluated.

use std::collections::BTreeMap;

use super::functions;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        value: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Break,
    Continue,
    /// `{{template "name" data}}`; `place` is the whole action.
    Template {
        name: String,
        data: Option<Pipeline>,
        place: Place,
    },
}

/// What `{{define}}` and `{{block}}` name.
pub(super) type Definitions = BTreeMap<String, Vec<Node>>;

/// `$a, $b := command | command`.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// Variables set by it.
    pub(super) variables: Vec<String>,
    /// `:=` makes them, `=` changes them.
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand, or a function or field with its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
    /// From the first operand to the last.
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) place: Place,
    pub(super) kind: OperandKind,
}

/// Where an operand stands, for errors.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) enum OperandKind {
    Dot,
    Nil,
    Literal(serde_json::Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(&'static functions::Function),
    /// `(pipeline).A.B`
    Nested(Pipeline, Vec<String>),
}

impl Pipeline {
    /// The field that is all of it: `{{.Config.Cmd}}` is `Cmd`, `{{len .Config.Cmd}}` is none.
    pub(super) fn only_field(&self) -> Option<&str> {
        let [Command { operands, .. }] = self.commands.as_slice() else { return None };
        match operands.as_slice() {
            [Operand { kind: OperandKind::Field(names) | OperandKind::Variable(_, names), .. }] => {
                names.last().map(String::as_str)
            }
            _ => None,
        }
    }

    /// The first field named in it: `{{upper .Names}}` shows `Names`.
    pub(super) fn first_field(&self) -> Option<&str> {
        self.commands.iter().flat_map(|c| &c.operands).find_map(|operand| match &operand.kind {
            OperandKind::Field(names) => names.last().map(String::as_str),
            OperandKind::Nested(inner, _) => inner.first_field(),
            _ => None,
        })
    }
}
