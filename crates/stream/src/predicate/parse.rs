//! From text to bytecode, in one pass: recursive descent that writes code as it
//! goes.

use super::code::{Comparison, Kind, Op, Operand, Program, Text};
use super::{MAX_CODE, MAX_DEPTH, MAX_TEXT, PredicateError, number};

/// The most bytes of a name shown in an error.
const SHOWN: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// The quoted part as it is written, escapes and all.
    String(&'a str),
    Number(&'a str),
    Symbol(&'a str),
    End,
}

struct Parser<'a> {
    text: &'a str,
    /// Where the token that is looked at begins, and what follows it.
    at: usize,
    next: usize,
    token: Token<'a>,
    depth: usize,
    program: Program,
}

/// Compiles a whole text.
pub(super) fn parse(text: &str) -> Result<Program, PredicateError> {
    if text.len() > MAX_TEXT {
        let what = format!("{} bytes are more than the {MAX_TEXT} that a predicate may have: shorten it", text.len());
        return Err(PredicateError { at: MAX_TEXT, what });
    }
    let mut parser = Parser { text, at: 0, next: 0, token: Token::End, depth: 0, program: Program::default() };
    parser.advance()?;
    parser.any()?;
    match parser.token {
        Token::End => Ok(parser.program),
        _ => parser.expected("`and`, `or` or the end"),
    }
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, what: String) -> Result<T, PredicateError> {
        Err(PredicateError { at: self.at, what })
    }

    fn expected<T>(&self, what: &str) -> Result<T, PredicateError> {
        let found = match self.token {
            Token::End => return self.fail(format!("the text ends, and {what} is missing")),
            Token::Word(text) | Token::Number(text) | Token::Symbol(text) | Token::String(text) => text,
        };
        let end = found.floor_char_boundary(SHOWN);
        self.fail(format!("`{}` is there in the place of {what}", found.get(..end).unwrap_or_default()))
    }

    /// Goes to the next token.
    fn advance(&mut self) -> Result<(), PredicateError> {
        let rest = self.text.get(self.next..).unwrap_or_default();
        let begin = rest.trim_start();
        self.at = self.text.len() - begin.len();
        let Some(first) = begin.chars().next() else {
            (self.next, self.token) = (self.text.len(), Token::End);
            return Ok(());
        };
        let run = |is: fn(char) -> bool| begin.find(|c| !is(c)).unwrap_or(begin.len());
        let (token, len) = match first {
            '\'' | '"' => self.string(begin, first)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let len = run(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
                (Token::Word(begin.get(..len).unwrap_or_default()), len)
            }
            '0'..='9' | '-' => {
                let len = run(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
                (Token::Number(begin.get(..len).unwrap_or_default()), len)
            }
            _ => {
                let symbols = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "[", "]", ",", "."];
                let Some(symbol) = symbols.into_iter().find(|symbol| begin.starts_with(symbol)) else {
                    let hint = if matches!(first, '=' | '!' | '&' | '|') {
                        "compare with `==` or `!=`, join with `and`, `or` and `not`"
                    } else {
                        "put text between quotes"
                    };
                    return self.fail(format!("`{}` begins nothing: {hint}", first.escape_debug()));
                };
                (Token::Symbol(begin.get(..symbol.len()).unwrap_or_default()), symbol.len())
            }
        };
        (self.next, self.token) = (self.at + len, token);
        Ok(())
    }

    fn string(&self, begin: &'a str, quote: char) -> Result<(Token<'a>, usize), PredicateError> {
        let mut escaped = false;
        for (at, c) in begin.char_indices().skip(1) {
            match c {
                _ if escaped => {
                    if !matches!(c, '\\' | '\'' | '"') {
                        let what = format!("`\\{}` stands for nothing: write `\\\\` for a backslash", c.escape_debug());
                        return Err(PredicateError { at: self.at + at - 1, what });
                    }
                    escaped = false;
                }
                '\\' => escaped = true,
                c if c == quote => return Ok((Token::String(begin.get(1..at).unwrap_or_default()), at + 1)),
                _ => {}
            }
        }
        self.fail(format!("the text in quotes does not end: add {quote}"))
    }

    fn is_word(&self, word: &str) -> bool {
        self.token == Token::Word(word)
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), PredicateError> {
        if self.token != Token::Symbol(symbol) {
            return self.expected(&format!("`{symbol}`"));
        }
        self.advance()
    }

    fn emit(&mut self, op: Op) -> Result<(), PredicateError> {
        if self.program.ops.len() >= MAX_CODE {
            return self.fail(format!(
                "it has more than {MAX_CODE} tests, joins and literals of lists: make two consumers of it"
            ));
        }
        self.program.ops.push(op);
        Ok(())
    }

    /// Joins parts by a word; each but the last jumps to the end when it
    /// decides.
    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<(), PredicateError>,
        jump: fn(u16) -> Op,
    ) -> Result<(), PredicateError> {
        let mut jumps = Vec::new();
        part(self)?;
        while self.is_word(word) {
            self.advance()?;
            jumps.push(self.program.ops.len());
            self.emit(jump(0))?;
            part(self)?;
        }
        let end = self.program.ops.len() as u16;
        for at in jumps {
            if let Some(op) = self.program.ops.get_mut(at) {
                *op = jump(end);
            }
        }
        Ok(())
    }

    fn any(&mut self) -> Result<(), PredicateError> {
        self.joined("or", Self::all, Op::JumpIfTrue)
    }

    fn all(&mut self) -> Result<(), PredicateError> {
        self.joined("and", Self::one, Op::JumpIfFalse)
    }

    fn one(&mut self) -> Result<(), PredicateError> {
        let is_not = self.is_word("not");
        if !is_not && self.token != Token::Symbol("(") {
            return self.test();
        }
        if self.depth >= MAX_DEPTH {
            return self
                .fail(format!("more than {MAX_DEPTH} parentheses and `not`s are within each other: write it flatter"));
        }
        self.depth += 1;
        self.advance()?;
        if is_not {
            self.one()?;
            self.emit(Op::Not)?;
        } else {
            self.any()?;
            self.symbol(")")?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn test(&mut self) -> Result<(), PredicateError> {
        if self.is_word("exists") {
            self.advance()?;
            let at = self.at;
            let operand = self.operand()?;
            if operand.is_literal() {
                let what = "`exists` asks for a field, such as `header.x` or `topic[2]`".to_owned();
                return Err(PredicateError { at, what });
            }
            return self.emit(Op::Exists(operand));
        }
        let begin = self.at;
        let left = self.operand()?;
        if self.is_word("in") {
            return self.list(left, begin);
        }
        if self.is_word("prefix") {
            self.advance()?;
            let at = self.at;
            return match (left.kind(), self.operand()?) {
                (Kind::Bytes, Operand::Text(text)) if !left.is_literal() => self.emit(Op::Prefix(left, text)),
                (Kind::Bytes, Operand::Text(_)) => Err(constant(begin)),
                (Kind::Bytes, _) => Err(PredicateError { at, what: "`prefix` takes a text in quotes".to_owned() }),
                _ => Err(PredicateError { at: begin, what: "a number has no prefix: compare it".to_owned() }),
            };
        }
        let comparison = match self.token {
            Token::Symbol("==") => Comparison::Equal,
            Token::Symbol("!=") => Comparison::Unequal,
            Token::Symbol("<") => Comparison::Less,
            Token::Symbol("<=") => Comparison::LessOrEqual,
            Token::Symbol(">") => Comparison::Greater,
            Token::Symbol(">=") => Comparison::GreaterOrEqual,
            _ => return self.expected("`==`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `prefix`"),
        };
        self.advance()?;
        let at = self.at;
        let right = self.operand()?;
        self.check(left, right, at)?;
        if left.is_literal() && right.is_literal() {
            return Err(constant(begin));
        }
        self.emit(Op::Compare(left, comparison, right))
    }

    /// A text in quotes is no number, whatever it says.
    fn check(&self, left: Operand, right: Operand, at: usize) -> Result<(), PredicateError> {
        let is_text = |operand| matches!(operand, Operand::Text(_));
        let is_number = |operand: Operand| operand.kind() == Kind::Number;
        if (is_text(left) && is_number(right)) || (is_number(left) && is_text(right)) {
            let what = "a number is compared with a text here: take the quotes off, or compare another field";
            return Err(PredicateError { at, what: what.to_owned() });
        }
        Ok(())
    }

    fn list(&mut self, left: Operand, begin: usize) -> Result<(), PredicateError> {
        if left.is_literal() {
            return Err(constant(begin));
        }
        self.advance()?;
        self.symbol("(")?;
        let head = self.program.ops.len();
        self.emit(Op::In(left, 0))?;
        let mut kind = None;
        loop {
            let at = self.at;
            let item = self.operand()?;
            if !item.is_literal() {
                return Err(PredicateError {
                    at,
                    what: "a list has texts or numbers only: compare fields with `==`".to_owned(),
                });
            }
            if *kind.get_or_insert(item.kind()) != item.kind() {
                let what = "the list has texts and numbers: make two lists, joined by `or`".to_owned();
                return Err(PredicateError { at, what });
            }
            self.check(left, item, at)?;
            self.emit(Op::Item(item))?;
            if self.token != Token::Symbol(",") {
                break;
            }
            self.advance()?;
        }
        let count = (self.program.ops.len() - head - 1) as u16;
        if let Some(op) = self.program.ops.get_mut(head) {
            *op = Op::In(left, count);
        }
        if self.token != Token::Symbol(")") {
            return self.expected("`,` or `)`");
        }
        self.advance()
    }

    fn operand(&mut self) -> Result<Operand, PredicateError> {
        let operand = match self.token {
            Token::String(raw) => Operand::Text(self.pooled(raw)),
            Token::Number(text) => {
                let Some(number) = number::parse(text.as_bytes()) else {
                    return self.expected("a number of at most 18 digits, and 9 behind the point");
                };
                self.program.numbers.push(number);
                Operand::Number((self.program.numbers.len() - 1) as u16)
            }
            Token::Word("header") => return self.header(),
            Token::Word("topic") => return self.topic(),
            Token::Word("key") => Operand::Key,
            Token::Word("levels") => Operand::Levels,
            Token::Word("size") => Operand::Size,
            Token::Word("time") => Operand::Time,
            _ => {
                return self.expected(
                    "a field (`header.NAME`, `key`, `topic`, `topic[N]`, `levels`, `size`, `time`), a text in quotes or a number",
                );
            }
        };
        self.advance()?;
        Ok(operand)
    }

    fn header(&mut self) -> Result<Operand, PredicateError> {
        self.advance()?;
        if self.token == Token::Symbol("(") {
            self.advance()?;
            let Token::String(raw) = self.token else { return self.expected("the header's name in quotes") };
            let name = self.pooled(raw);
            self.advance()?;
            self.symbol(")")?;
            return Ok(Operand::Header(name));
        }
        if self.token != Token::Symbol(".") {
            return self.expected("`.NAME` or `('NAME')`");
        }
        self.advance()?;
        let Token::Word(name) = self.token else {
            return self.expected("the header's name; one with other characters goes into `header('NAME')`");
        };
        let name = self.pooled(name);
        self.advance()?;
        Ok(Operand::Header(name))
    }

    fn topic(&mut self) -> Result<Operand, PredicateError> {
        self.advance()?;
        if self.token != Token::Symbol("[") {
            return Ok(Operand::Topic);
        }
        self.advance()?;
        let level = match self.token {
            Token::Number(text) => text.parse().ok().filter(|level| usize::from(*level) < weft_topic::MAX_LEVELS),
            _ => None,
        };
        let Some(level) = level else { return self.expected("the number of a level, 0 to 63") };
        self.advance()?;
        self.symbol("]")?;
        Ok(Operand::Level(level))
    }

    /// Puts a text into the pool, without its escapes. The pool is never larger
    /// than the predicate's text.
    fn pooled(&mut self, raw: &str) -> Text {
        let at = self.program.pool.len();
        let mut escaped = false;
        for byte in raw.bytes() {
            escaped = byte == b'\\' && !escaped;
            if !escaped {
                self.program.pool.push(byte);
            }
        }
        Text { at: at as u16, len: (self.program.pool.len() - at) as u16 }
    }
}

fn constant(at: usize) -> PredicateError {
    PredicateError { at, what: "this is the same for all events: compare a field".to_owned() }
}
