//! Builds the tree of a template from its tokens.
//!
//! Checks what Go checks while parsing: that functions and variables exist, that every block ends, and
//! that operands stand where they may. Nesting is bounded, so that no template can exhaust the stack.

use super::Error;
use super::functions;
use super::lexer::{Kind, Token, error_at, position};
use super::tree::{Command, Definitions, Node, Operand, OperandKind, Pipeline, Place};

/// Deeper than any template a person writes.
const DEEPEST: usize = 100;

pub(super) fn parse(source: &str, tokens: Vec<Token>) -> Result<(Vec<Node>, Definitions), Error> {
    let mut parser = Parser {
        source,
        tokens,
        next: 0,
        depth: 0,
        loops: 0,
        variables: vec!["$".to_owned()],
        definitions: Definitions::new(),
    };
    let (nodes, end) = parser.block()?;
    match end {
        Stop::Source => Ok((nodes, parser.definitions)),
        Stop::End => parser.fail("unexpected {{end}}"),
        Stop::Else(_) => parser.fail("unexpected {{else}}"),
    }
}

/// What ended a list of nodes.
enum Stop {
    Source,
    End,
    /// `{{else}}`, or `{{else if …}}` with the word that follows.
    Else(Option<String>),
}

struct Parser<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    loops: usize,
    variables: Vec<String>,
    definitions: Definitions,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.next).map(|t| &t.kind)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.source.len(), |t| t.at)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        let at = self.tokens.get(self.next.saturating_sub(1)).map_or(self.source.len(), |t| t.at);
        Err(error_at(self.source, at, message))
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEEPEST {
            return self.fail("template is nested too deeply");
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn block(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        self.deeper(Self::block_here)
    }

    fn block_here(&mut self) -> Result<(Vec<Node>, Stop), Error> {
        let mut nodes = Vec::new();
        while self.next < self.tokens.len() {
            let token = self.tokens[self.next].clone();
            self.next += 1;
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            let word = match self.peek() {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match word.as_str() {
                "end" => {
                    self.next += 1;
                    self.close("end")?;
                    return Ok((nodes, Stop::End));
                }
                "else" => {
                    self.next += 1;
                    let chained = match self.peek() {
                        Some(Kind::Word(word)) if word == "if" || word == "with" => Some(word.clone()),
                        _ => None,
                    };
                    match &chained {
                        Some(_) => self.next += 1,
                        None => self.close("else")?,
                    }
                    return Ok((nodes, Stop::Else(chained)));
                }
                "if" | "with" | "range" => {
                    self.next += 1;
                    nodes.push(self.control(&word)?);
                }
                "break" | "continue" => {
                    self.next += 1;
                    if self.loops == 0 {
                        return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                    }
                    self.close(&word)?;
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                // Only beside other templates, never inside of anything.
                "define" if self.depth == 1 => {
                    self.next += 1;
                    let name = self.name("define clause")?;
                    self.close("define clause")?;
                    self.definition(name)?;
                }
                "template" => {
                    self.next += 1;
                    let name = self.name("template clause")?;
                    let data = match self.peek() {
                        Some(Kind::Close) => None,
                        _ => Some(self.pipeline("template clause")?),
                    };
                    self.close("template clause")?;
                    let place = self.action_place(token.at);
                    nodes.push(Node::Template { name, data, place });
                }
                "block" => {
                    self.next += 1;
                    let name = self.name("block clause")?;
                    let data = Some(self.pipeline("block clause")?);
                    self.close("block clause")?;
                    let place = self.action_place(token.at);
                    self.definition(name.clone())?;
                    nodes.push(Node::Template { name, data, place });
                }
                _ => {
                    let pipeline = self.pipeline("command")?;
                    self.close("command")?;
                    nodes.push(Node::Action(pipeline));
                }
            }
        }
        Ok((nodes, Stop::Source))
    }

    /// The quoted name of a template.
    fn name(&mut self, context: &str) -> Result<String, Error> {
        match self.peek() {
            Some(Kind::Quoted(name)) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            Some(Kind::Word(word)) => {
                let message = format!("unexpected {word:?} in {context}");
                self.fail(message)
            }
            _ => self.unexpected(context),
        }
    }

    /// The body of a template, to its `{{end}}`. It sees no variables but its own data.
    fn definition(&mut self, name: String) -> Result<(), Error> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let body = match self.block()? {
            (body, Stop::End) => body,
            (_, Stop::Source) => return self.fail("unexpected EOF"),
            (_, Stop::Else(_)) => return self.fail("unexpected {{else}} in define clause"),
        };
        (self.variables, self.loops) = (variables, loops);
        // As in Go, an empty definition does not take the place of one that says something.
        if !body.is_empty() || !self.definitions.contains_key(&name) {
            self.definitions.insert(name, body);
        }
        Ok(())
    }

    /// An action from its opening braces, whose end has just been read. Go counts its place from the name.
    fn action_place(&self, start: usize) -> Place {
        let end = self.tokens.get(self.next.saturating_sub(1)).map_or(self.source.len(), |t| t.at + 2);
        let text = self.source.get(start..end).unwrap_or_default();
        let (line, column) = position(self.source, start + text.find(['"', '`']).unwrap_or(0));
        Place { line, column, text: text.to_owned() }
    }

    /// `if`, `with` or `range`, whose word is already read.
    fn control(&mut self, word: &str) -> Result<Node, Error> {
        let known = self.variables.len();
        let head = self.pipeline(word)?;
        if word != "range" && head.variables.len() > 1 {
            return self.fail(format!("too many declarations in {word}"));
        }
        self.close(word)?;
        self.loops += usize::from(word == "range");
        let (then, end) = self.block()?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            Stop::Source => return self.fail("unexpected EOF"),
            Stop::End => Vec::new(),
            Stop::Else(None) => match self.block()? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Else(_)) => return self.fail("expected end; found {{else}}"),
                (_, Stop::Source) => return self.fail("unexpected EOF"),
            },
            // `{{else if}}` shares its `{{end}}` with the `if` that it belongs to.
            Stop::Else(Some(chained)) if chained == word => {
                vec![self.deeper(|parser| parser.control(&chained))?]
            }
            Stop::Else(Some(chained)) => {
                return self.fail(format!("unexpected <{chained}> in else of {word}"));
            }
        };
        self.variables.truncate(known);
        Ok(match word {
            "if" => Node::If { condition: head, then, otherwise },
            "with" => Node::With { value: head, then, otherwise },
            _ => Node::Range { over: head, body: then, otherwise },
        })
    }

    /// The action's end.
    fn close(&mut self, context: &str) -> Result<(), Error> {
        match self.peek() {
            Some(Kind::Close) => {
                self.next += 1;
                Ok(())
            }
            _ => self.unexpected(context),
        }
    }

    fn unexpected<T>(&mut self, context: &str) -> Result<T, Error> {
        let found = match self.peek() {
            None => return self.fail("unexpected EOF"),
            Some(Kind::Close) => "\"}}\"".to_owned(),
            Some(Kind::RightBracket) => return self.fail("unexpected right paren"),
            Some(Kind::Dot | Kind::Field(_)) => "<.>".to_owned(),
            Some(Kind::Word(word)) => format!("<{word}>"),
            Some(_) => {
                let rest = &self.source[self.offset()..];
                let end = rest.char_indices().skip(1).find(|(_, c)| " |)}".contains(*c));
                format!("{:?}", &rest[..end.map_or(rest.len(), |(n, _)| n)])
            }
        };
        self.fail(format!("unexpected {found} in {context}"))
    }

    fn pipeline(&mut self, context: &str) -> Result<Pipeline, Error> {
        self.deeper(|parser| parser.pipeline_here(context))
    }

    fn pipeline_here(&mut self, context: &str) -> Result<Pipeline, Error> {
        let (variables, declares) = self.declaration(context)?;
        let mut commands = vec![self.command(context)?];
        while self.peek() == Some(&Kind::Pipe) {
            self.next += 1;
            let command = self.command(context)?;
            let callable = matches!(
                command.operands[0].kind,
                OperandKind::Function(_) | OperandKind::Field(_) | OperandKind::Variable(..)
            );
            if !callable {
                let stage = commands.len() + 1;
                return self.fail(format!("non executable command in pipeline stage {stage}"));
            }
            commands.push(command);
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$x =`, and for `range` also `$i, $x :=`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), Error> {
        let start = self.next;
        let mut variables = Vec::new();
        while let Some(Kind::Variable(name, names)) = self.peek() {
            if !names.is_empty() {
                break;
            }
            variables.push(name.clone());
            self.next += 1;
            match self.peek() {
                Some(Kind::Comma) if variables.len() == 1 && context == "range" => self.next += 1,
                Some(Kind::Declare) => {
                    self.next += 1;
                    return Ok((variables, true));
                }
                Some(Kind::Assign) => {
                    self.next += 1;
                    if let Some(name) = variables.iter().find(|name| !self.variables.contains(name)) {
                        return self.fail(format!("undefined variable {name:?}"));
                    }
                    return Ok((variables, false));
                }
                _ => break,
            }
        }
        self.next = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str) -> Result<Command, Error> {
        let start = self.offset();
        let mut operands = Vec::new();
        while !matches!(self.peek(), None | Some(Kind::Close | Kind::Pipe | Kind::RightBracket)) {
            operands.push(self.operand(context)?);
        }
        if operands.is_empty() {
            let what = if context == "command" { "command" } else { context };
            return self.fail(format!("missing value for {what}"));
        }
        if operands.len() > 1 {
            let first = &operands[0];
            let literal = matches!(first.kind, OperandKind::Literal(_) | OperandKind::Nil | OperandKind::Dot);
            if literal {
                return self.fail(format!("can't give argument to non-function {}", first.place.text));
            }
        }
        let (line, column) = position(self.source, start);
        let text = self.source.get(start..self.offset()).unwrap_or_default();
        let text = text.trim_end().trim_end_matches('-').trim_end().to_owned();
        Ok(Command { operands, place: Place { line, column, text } })
    }

    fn operand(&mut self, context: &str) -> Result<Operand, Error> {
        let start = self.offset();
        let Some(token) = self.tokens.get(self.next).cloned() else { return self.unexpected(context) };
        self.next += 1;
        let kind = match token.kind {
            Kind::Dot => OperandKind::Dot,
            Kind::Field(names) => OperandKind::Field(names),
            Kind::Variable(name, names) => {
                if !self.variables.contains(&name) {
                    return self.fail(format!("undefined variable {name:?}"));
                }
                OperandKind::Variable(name, names)
            }
            Kind::Quoted(text) => OperandKind::Literal(text.into()),
            Kind::Integer(number) => OperandKind::Literal(number.into()),
            Kind::Float(number) => OperandKind::Literal(number.into()),
            Kind::Word(word) => match word.as_str() {
                "true" => OperandKind::Literal(true.into()),
                "false" => OperandKind::Literal(false.into()),
                "nil" => OperandKind::Nil,
                "if" | "else" | "end" | "range" | "with" | "break" | "continue" | "define" | "template"
                | "block" => return self.fail(format!("unexpected <{word}> in {context}")),
                _ => match functions::find(&word) {
                    Some(function) => OperandKind::Function(function),
                    None => return self.fail(format!("function {word:?} not defined")),
                },
            },
            Kind::LeftBracket => self.nested(context)?,
            _ => {
                self.next -= 1;
                return self.unexpected("operand");
            }
        };
        let (line, column) = position(self.source, start);
        let end = self.tokens.get(self.next).map_or(self.source.len(), |t| t.at);
        let text = self.source.get(start..end).unwrap_or_default().trim_end().to_owned();
        Ok(Operand { place: Place { line, column, text }, kind })
    }

    /// What follows an opening bracket.
    fn nested(&mut self, context: &str) -> Result<OperandKind, Error> {
        let inner = self.pipeline(if context == "range" { "parenthesized pipeline" } else { context })?;
        if self.peek() != Some(&Kind::RightBracket) {
            return self.fail("unclosed left paren");
        }
        let bracket = self.offset();
        self.next += 1;
        // A field belongs to the bracket only when no space is between them.
        let joined = self.offset() == bracket + 1;
        match self.peek() {
            Some(Kind::Field(names)) if joined => {
                let names = names.clone();
                self.next += 1;
                Ok(OperandKind::Nested(inner, names))
            }
            _ => Ok(OperandKind::Nested(inner, Vec::new())),
        }
    }
}
