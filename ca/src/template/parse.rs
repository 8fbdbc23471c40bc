//! The template parser: five constructs, and a named refusal for the rest of `text/template`.

use super::{Node, Operand};

/// Deepest nesting of `if`.
const MAX_DEPTH: usize = 8;
/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 16 * 1024;

/// Why a template is refused. For the operator, when the configuration is loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// An action does not end.
    #[error("`{{{{` without `}}}}`")]
    Unclosed,
    /// `else` or `end` without `if`, or `if` without `end`.
    #[error("unbalanced `{0}`")]
    Unbalanced(&'static str),
    /// Something of Go's template language that is not evaluated here.
    #[error(
        "`{{{{{0}}}}}` is not supported; use `.claim`, `index . \"claim\"` and `if eq A \"text\"` … `else` … `end`"
    )]
    Unsupported(String),
    /// Too long or nested too deeply.
    #[error("larger or deeper than any sensible template")]
    TooLarge,
}

/// Parses a whole template.
pub(super) fn program(text: &str) -> Result<Vec<Node>, TemplateError> {
    if text.len() > MAX_TEMPLATE {
        return Err(TemplateError::TooLarge);
    }
    let mut parser = Parser { pieces: pieces(text)?.into_iter() };
    let (nodes, end) = parser.block(0)?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::Else => Err(TemplateError::Unbalanced("else")),
        Stop::End => Err(TemplateError::Unbalanced("end")),
    }
}

enum Piece<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// Cuts the template at its actions. A `}}` inside a quoted text does not close the action.
fn pieces(mut rest: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    while let Some((text, after)) = rest.split_once("{{") {
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        let close = action_len(after).ok_or(TemplateError::Unclosed)?;
        pieces.push(Piece::Action(&after[..close]));
        rest = &after[close + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn action_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut i = 0;
    while i < bytes.len() {
        match (quote, bytes[i]) {
            (None, b'}') if bytes.get(i + 1) == Some(&b'}') => return Some(i),
            (None, mark @ (b'"' | b'`')) => quote = Some(mark),
            (Some(b'"'), b'\\') => i += 1,
            (Some(open), mark) if open == mark => quote = None,
            _ => {}
        }
        i += 1;
    }
    None
}

/// What ended a block.
enum Stop {
    Text,
    Else,
    End,
}

struct Parser<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
}

impl Parser<'_> {
    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, Stop), TemplateError> {
        if depth > MAX_DEPTH {
            return Err(TemplateError::TooLarge);
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let tokens = tokens(action)?;
            match tokens.as_slice() {
                [Token::Word("end")] => return Ok((nodes, Stop::End)),
                [Token::Word("else")] => return Ok((nodes, Stop::Else)),
                [Token::Word("if"), Token::Word("eq"), rest @ ..] => {
                    nodes.push(self.condition(action, rest, depth)?);
                }
                rest => nodes.push(Node::Value(whole_operand(action, rest)?)),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn condition(&mut self, action: &str, rest: &[Token<'_>], depth: usize) -> Result<Node, TemplateError> {
        let (left, rest) = argument(rest).ok_or_else(|| unsupported(action))?;
        let (right, rest) = argument(rest).ok_or_else(|| unsupported(action))?;
        if !rest.is_empty() {
            return Err(unsupported(action));
        }
        let (then, end) = self.block(depth + 1)?;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Text => return Err(TemplateError::Unbalanced("if")),
            Stop::Else => match self.block(depth + 1)? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Else) => return Err(TemplateError::Unbalanced("else")),
                (_, Stop::Text) => return Err(TemplateError::Unbalanced("if")),
            },
        };
        Ok(Node::If { left, right, then, otherwise })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// `.name`
    Field(&'a str),
    /// A lone `.`
    Dot,
    Quoted(String),
    Open,
    Close,
}

fn unsupported(action: &str) -> TemplateError {
    TemplateError::Unsupported(action.to_owned())
}

fn tokens(action: &str) -> Result<Vec<Token<'_>>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' => (Token::Open, &rest[1..]),
            ')' => (Token::Close, &rest[1..]),
            '"' => quoted(rest).ok_or_else(|| unsupported(action))?,
            '`' => {
                let (raw, after) = rest[1..].split_once('`').ok_or_else(|| unsupported(action))?;
                (Token::Quoted(raw.to_owned()), after)
            }
            '.' => {
                let (name, after) = identifier(&rest[1..]);
                (if name.is_empty() { Token::Dot } else { Token::Field(name) }, after)
            }
            letter if letter.is_ascii_alphabetic() => {
                let (word, after) = identifier(rest);
                (Token::Word(word), after)
            }
            // Pipes, variables, numbers, trim markers, comments.
            _ => return Err(unsupported(action)),
        };
        let spaced = after.trim_start_matches(is_space);
        // `.a.b`, `.a"x"`: operands must be apart, as Go demands.
        let apart = spaced.len() < after.len() || after.is_empty() || after.starts_with([')', '(']);
        if !apart && !matches!(token, Token::Open | Token::Close) {
            return Err(unsupported(action));
        }
        tokens.push(token);
        rest = spaced;
    }
    Ok(tokens)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn identifier(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

/// A Go string literal with the two escapes that a claim name may need.
fn quoted(text: &str) -> Option<(Token<'_>, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Token::Quoted(value), &text[at + 1..])),
            '\\' => match chars.next()? {
                (_, escaped @ ('"' | '\\')) => value.push(escaped),
                _ => return None,
            },
            '\n' => return None,
            other => value.push(other),
        }
    }
    None
}

/// A whole action that is one operand, where `index` needs no parentheses.
fn whole_operand(action: &str, tokens: &[Token<'_>]) -> Result<Operand, TemplateError> {
    if let [Token::Word("index"), Token::Dot, Token::Quoted(name)] = tokens {
        return Ok(Operand::Index(name.clone()));
    }
    match argument(tokens) {
        Some((operand, [])) => Ok(operand),
        _ => Err(unsupported(action)),
    }
}

/// One argument at the front of `tokens`, where `index` needs parentheses.
fn argument<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(Operand, &'t [Token<'a>])> {
    match tokens {
        [Token::Field(name), rest @ ..] => Some((Operand::Field((*name).to_owned()), rest)),
        [Token::Quoted(text), rest @ ..] => Some((Operand::Literal(text.clone()), rest)),
        [Token::Open, Token::Word("index"), Token::Dot, Token::Quoted(name), Token::Close, rest @ ..] => {
            Some((Operand::Index(name.clone()), rest))
        }
        [Token::Open, Token::Field(name), Token::Close, rest @ ..] => {
            Some((Operand::Field((*name).to_owned()), rest))
        }
        _ => None,
    }
}
