//! Splits a template into text and the tokens of its actions.
//!
//! It knows the delimiters, their trim markers, comments, and Go's literals; what tokens mean together
//! is the parser's business. Every token keeps its byte offset so that errors can name a place.

use super::Error;

/// One token and where it begins, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside of actions, already trimmed by the markers beside it.
    Text(String),
    /// `{{`, `}}`.
    Open,
    Close,
    /// A keyword or a function's name.
    Word(String),
    /// `.` alone.
    Dot,
    /// `.A.B`: the names. Also what follows a closing bracket.
    Field(Vec<String>),
    /// `$x.A`: the variable with its dollar, then the names.
    Variable(String, Vec<String>),
    Quoted(String),
    Integer(i64),
    Float(f64),
    LeftBracket,
    RightBracket,
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// The line (from 1) and the byte within it of an offset.
pub(super) fn position(source: &str, at: usize) -> (usize, usize) {
    let before = &source.as_bytes()[..at.min(source.len())];
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    (line, before.len() - start)
}

pub(super) fn error_at(source: &str, at: usize, message: impl Into<String>) -> Error {
    Error { line: position(source, at).0, at: None, message: message.into(), within: None }
}

/// All tokens of the template.
pub(super) fn lex(source: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new() };
    let mut trim_next = false;
    loop {
        let rest = &source[lexer.at..];
        let open = rest.find("{{");
        let text = &rest[..open.unwrap_or(rest.len())];
        let trim_before = open.is_some_and(|n| starts_trim(&rest[n + 2..]));
        let mut shown = text;
        if trim_next {
            shown = shown.trim_start_matches(SPACES);
        }
        if trim_before {
            shown = shown.trim_end_matches(SPACES);
        }
        if !shown.is_empty() {
            lexer.push(lexer.at, Kind::Text(shown.to_owned()));
        }
        let Some(open) = open else { return Ok(lexer.tokens) };
        let start = lexer.at + open;
        lexer.at = start + 2 + if trim_before { 2 } else { 0 };
        if source[lexer.at..].starts_with("/*") {
            trim_next = lexer.comment(start)?;
            continue;
        }
        lexer.push(start, Kind::Open);
        trim_next = lexer.action()?;
    }
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// `{{-` trims only if a space follows, so that `{{-3}}` is a number.
fn starts_trim(after: &str) -> bool {
    let mut characters = after.chars();
    characters.next() == Some('-') && characters.next().is_some_and(|c| SPACES.contains(&c))
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn push(&mut self, at: usize, kind: Kind) {
        self.tokens.push(Token { at, kind });
    }

    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error<T>(&self, at: usize, message: impl Into<String>) -> Result<T, Error> {
        Err(error_at(self.source, at, message))
    }

    /// Past the comment that begins here; whether it ends with a trim marker.
    fn comment(&mut self, start: usize) -> Result<bool, Error> {
        let Some(end) = self.rest().find("*/") else { return self.error(start, "unclosed comment") };
        self.at += end + 2;
        if self.rest().starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        if starts_end_trim(self.rest()) {
            self.at += 4;
            return Ok(true);
        }
        self.error(start, "comment ends before closing delimiter")
    }

    /// The tokens of one action and its end; whether it ends with a trim marker.
    fn action(&mut self) -> Result<bool, Error> {
        loop {
            if self.rest().starts_with("}}") {
                self.push(self.at, Kind::Close);
                self.at += 2;
                return Ok(false);
            }
            if starts_end_trim(self.rest()) {
                self.push(self.at, Kind::Close);
                self.at += 4;
                return Ok(true);
            }
            let at = self.at;
            let Some(next) = self.peek() else { return self.error(at, "unclosed action") };
            match next {
                c if SPACES.contains(&c) => self.at += 1,
                '(' => self.one(Kind::LeftBracket),
                ')' => self.one(Kind::RightBracket),
                '|' => self.one(Kind::Pipe),
                ',' => self.one(Kind::Comma),
                '=' => self.one(Kind::Assign),
                ':' if self.rest().starts_with(":=") => {
                    self.push(at, Kind::Declare);
                    self.at += 2;
                }
                ':' => return self.error(at, "expected :="),
                '"' => self.quoted()?,
                '`' => self.raw()?,
                '\'' => self.character()?,
                '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    let names = self.names();
                    let kind = if names.is_empty() {
                        self.at += 1;
                        Kind::Dot
                    } else {
                        Kind::Field(names)
                    };
                    self.push(at, kind);
                }
                '$' => {
                    self.at += 1;
                    let name = format!("${}", self.word());
                    let names = self.names();
                    self.push(at, Kind::Variable(name, names));
                }
                c if c == '+' || c == '-' || c == '.' || c.is_ascii_digit() => self.number()?,
                c if is_word(c) => {
                    let word = self.word();
                    self.push(at, Kind::Word(word));
                }
                c => {
                    let message = format!("unexpected \"{c}\" in command");
                    return self.error(at, message);
                }
            }
        }
    }

    fn one(&mut self, kind: Kind) {
        self.push(self.at, kind);
        self.at += 1;
    }

    fn word(&mut self) -> String {
        let word: String = self.rest().chars().take_while(|c| is_word(*c)).collect();
        self.at += word.len();
        word
    }

    /// `.A.B`, as far as names follow.
    fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        while self.rest().strip_prefix('.').is_some_and(|r| r.starts_with(is_word)) {
            self.at += 1;
            names.push(self.word());
        }
        names
    }

    fn raw(&mut self) -> Result<(), Error> {
        let at = self.at;
        let Some(end) = self.rest()[1..].find('`') else {
            return self.error(at, "unterminated raw quoted string");
        };
        let text = self.rest()[1..=end].to_owned();
        self.at += end + 2;
        self.push(at, Kind::Quoted(text));
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), Error> {
        let at = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None | Some('\n') => return self.error(at, "unterminated quoted string"),
                Some('"') => break,
                Some(_) => text.push(self.escaped(at)?),
            }
        }
        self.at += 1;
        self.push(at, Kind::Quoted(text));
        Ok(())
    }

    /// `'a'` is the character's number, as in Go.
    fn character(&mut self) -> Result<(), Error> {
        let at = self.at;
        self.at += 1;
        if matches!(self.peek(), None | Some('\n' | '\'')) {
            return self.error(at, "unterminated character constant");
        }
        let character = self.escaped(at)?;
        if self.peek() != Some('\'') {
            return self.error(at, "malformed character constant");
        }
        self.at += 1;
        self.push(at, Kind::Integer(i64::from(u32::from(character))));
        Ok(())
    }

    /// One character of a quoted literal, its escape resolved.
    fn escaped(&mut self, start: usize) -> Result<char, Error> {
        let first = self.peek().unwrap_or_default();
        self.at += first.len_utf8();
        if first != '\\' {
            return Ok(first);
        }
        let Some(letter) = self.peek() else { return self.error(start, "unterminated quoted string") };
        self.at += letter.len_utf8();
        let numbered = |lexer: &mut Self, digits: usize, radix: u32, from: usize| {
            let text = lexer.source.get(from..from + digits).unwrap_or_default();
            lexer.at = from + text.len();
            u32::from_str_radix(text, radix).ok().filter(|_| text.len() == digits).and_then(char::from_u32)
        };
        let here = self.at;
        let found = match letter {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'v' => Some('\x0b'),
            '\\' | '"' | '\'' => Some(letter),
            'x' => numbered(self, 2, 16, here),
            'u' => numbered(self, 4, 16, here),
            'U' => numbered(self, 8, 16, here),
            '0'..='7' => numbered(self, 3, 8, here - 1),
            _ => None,
        };
        match found {
            Some(character) => Ok(character),
            None => self.error(start, "invalid syntax in quoted string"),
        }
    }

    fn number(&mut self) -> Result<(), Error> {
        let at = self.at;
        let text: String = self
            .rest()
            .char_indices()
            .take_while(|(n, c)| {
                let after_exponent = *n > 0 && matches!(self.rest().as_bytes()[n - 1], b'e' | b'E');
                is_word(*c) || *c == '.' || ((*c == '+' || *c == '-') && (*n == 0 || after_exponent))
            })
            .map(|(_, c)| c)
            .collect();
        self.at += text.len();
        match parse_number(&text) {
            Some(kind) => {
                self.push(at, kind);
                Ok(())
            }
            None => self.error(at, format!("bad number syntax: {text:?}")),
        }
    }
}

/// ` -}}`: the space is part of the marker, so that `{{3-}}` is an error and not a trim.
fn starts_end_trim(rest: &str) -> bool {
    rest.starts_with(SPACES) && rest[1..].starts_with("-}}")
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn parse_number(text: &str) -> Option<Kind> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let integer = if let Some(hex) = lower.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = lower.strip_prefix("0b") {
        i64::from_str_radix(binary, 2).ok()
    } else if let Some(octal) = lower.strip_prefix("0o") {
        i64::from_str_radix(octal, 8).ok()
    } else if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| b.is_ascii_digit()) {
        i64::from_str_radix(&lower, 8).ok()
    } else {
        lower.parse::<i64>().ok().filter(|_| !lower.starts_with(['+', '-']))
    };
    if let Some(integer) = integer {
        return Some(Kind::Integer(if negative { -integer } else { integer }));
    }
    if !lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let float = lower.parse::<f64>().ok().filter(|f| f.is_finite())?;
    Some(Kind::Float(if negative { -float } else { float }))
}
