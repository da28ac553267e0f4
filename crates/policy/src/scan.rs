//! A look at a policy's text before Cedar reads it.
//!
//! Cedar's parser goes down as deep as the text nests, and so do the passes over
//! what it makes; a text of many brackets or a long chain of operators ends the
//! process. So what is deeper than [`NESTING`] brackets or [`DEPTH`] steps is
//! refused here, in one pass without recursion. Never says that a text is right:
//! that is Cedar's part. Where it cannot tell, it counts too much.

use crate::Limits;

/// The most brackets of all kinds within one another.
pub const NESTING: usize = 24;

/// The most steps that an expression's tree may be deep, reckoned from the text
/// as brackets and operators that can stand within one another.
pub const DEPTH: usize = 128;

/// The most `when` and `unless` of one rule, and the most annotations.
pub const CLAUSES: usize = 32;

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where each rule begins, in bytes.
    pub(crate) rules: Vec<usize>,
}

/// What is wrong, and at which byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) offset: usize,
    pub(crate) what: String,
}

fn refuse<T>(offset: usize, what: String) -> Result<T, Refusal> {
    Err(Refusal { offset, what })
}

/// What is within one pair of brackets, or a rule outside of all.
#[derive(Default)]
struct Level {
    /// What closes it.
    close: u8,
    /// Its elements are those of a set.
    is_set: bool,
    /// Commas.
    elements: usize,
    /// The deepest element but the one in hand.
    deepest: usize,
    ifs: usize,
    ors: usize,
    ands: usize,
    most_ands: usize,
    others: usize,
    most_others: usize,
    /// The deepest of what is in brackets in the element in hand.
    inner: usize,
}

impl Level {
    fn of(close: u8) -> Self {
        Self { close, is_set: close == b']', ..Self::default() }
    }

    /// `||`, `&&` and `if` bind less than what stands between them, so of that
    /// only the deepest counts.
    fn or(&mut self) {
        self.ors += 1;
        self.end_and();
    }

    fn and(&mut self) {
        self.ands += 1;
        self.most_others = self.most_others.max(std::mem::take(&mut self.others));
    }

    fn branch(&mut self) {
        self.ifs += 1;
        self.end_and();
    }

    fn end_and(&mut self) {
        self.most_ands = self.most_ands.max(std::mem::take(&mut self.ands));
        self.most_others = self.most_others.max(std::mem::take(&mut self.others));
    }

    fn end_element(&mut self) {
        self.deepest = self.depth();
        (self.ifs, self.ors, self.ands, self.most_ands) = (0, 0, 0, 0);
        (self.others, self.most_others, self.inner) = (0, 0, 0);
    }

    fn depth(&self) -> usize {
        let ands = self.most_ands.max(self.ands);
        let others = self.most_others.max(self.others);
        self.deepest.max(self.ifs + self.ors + ands + others + self.inner)
    }
}

/// Looks at a text.
pub(crate) fn scan(text: &str, limits: &Limits) -> Result<Scan, Refusal> {
    if text.len() > limits.bytes {
        return refuse(
            0,
            format!(
                "the rules have {} bytes, of which {} are allowed: divide them among several policies",
                text.len(),
                limits.bytes
            ),
        );
    }
    let mut scanner =
        Scanner { limits, levels: vec![Level::default()], rules: Vec::new(), in_rule: false, clauses: 0, likes: 0 };
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut after_like = false;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let taken = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'/' if rest.starts_with(b"//") => {
                at += rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                continue;
            }
            b'"' => scanner.string(at, rest, after_like)?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let length = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(rest.len());
                after_like = scanner.word(at, rest.get(..length).unwrap_or_default())?;
                at += length;
                continue;
            }
            _ => scanner.mark(at, rest)?,
        };
        after_like = false;
        at += taken;
    }
    scanner.end(text.len())
}

struct Scanner<'a> {
    limits: &'a Limits,
    levels: Vec<Level>,
    rules: Vec<usize>,
    in_rule: bool,
    /// Of the rule in hand: clauses and annotations, and patterns.
    clauses: usize,
    likes: usize,
}

impl Scanner<'_> {
    fn begin(&mut self, at: usize) -> Result<(), Refusal> {
        if !self.in_rule {
            if self.rules.len() >= self.limits.rules {
                return refuse(
                    at,
                    format!("there are more than {} rules: divide them among several policies", self.limits.rules),
                );
            }
            self.in_rule = true;
            self.rules.push(at);
            (self.clauses, self.likes) = (0, 0);
        }
        Ok(())
    }

    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    fn clause(&mut self, at: usize) -> Result<(), Refusal> {
        self.clauses += 1;
        if self.clauses > 2 * CLAUSES {
            return refuse(at, format!("a rule has more than {} clauses and annotations: join them", 2 * CLAUSES));
        }
        Ok(())
    }

    fn word(&mut self, at: usize, word: &[u8]) -> Result<bool, Refusal> {
        self.begin(at)?;
        let outside = self.levels.len() == 1;
        match word {
            b"when" | b"unless" if outside => {
                self.clause(at)?;
                self.level().ifs += 1;
            }
            b"if" | b"then" | b"else" => self.level().branch(),
            b"in" | b"has" | b"is" => self.level().others += 1,
            b"like" => {
                self.level().others += 1;
                self.likes += 1;
                if self.likes > self.limits.patterns {
                    return refuse(
                        at,
                        format!(
                            "a rule has more than {} patterns (`like`): divide it into several rules",
                            self.limits.patterns
                        ),
                    );
                }
                return self.deep(at).map(|()| true);
            }
            _ => {}
        }
        self.deep(at).map(|()| false)
    }

    /// A text in quotes; returns its length.
    fn string(&mut self, at: usize, rest: &[u8], is_pattern: bool) -> Result<usize, Refusal> {
        self.begin(at)?;
        let mut end = 1;
        let mut stars = 0;
        loop {
            match rest.get(end) {
                None => return refuse(at, "this text has no closing quote: put a `\"` where it ends".into()),
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(b) => {
                    stars += usize::from(*b == b'*');
                    end += 1;
                }
            }
        }
        if end > self.limits.text {
            return refuse(
                at,
                format!("this text has {} bytes, of which {} are allowed: shorten it", end - 1, self.limits.text),
            );
        }
        if is_pattern && stars > self.limits.stars {
            return refuse(
                at,
                format!("this pattern has {stars} `*`, of which {} are allowed: simplify it", self.limits.stars),
            );
        }
        Ok(end + 1)
    }

    /// Anything else; returns how much of it was taken.
    fn mark(&mut self, at: usize, rest: &[u8]) -> Result<usize, Refusal> {
        let pair = rest.get(..2).unwrap_or_default();
        let first = rest.first().copied().unwrap_or_default();
        if !(first == b';' && self.levels.len() == 1) {
            self.begin(at)?;
        }
        match first {
            b'(' | b'[' | b'{' => {
                if self.levels.len() > NESTING {
                    return refuse(
                        at,
                        format!("brackets are nested more than {NESTING} deep: divide the rule, or take brackets away"),
                    );
                }
                self.levels.push(Level::of(match first {
                    b'(' => b')',
                    b'[' => b']',
                    _ => b'}',
                }));
            }
            b')' | b']' | b'}' => {
                let open = if self.levels.len() > 1 { self.levels.pop() } else { None };
                match open {
                    Some(level) if level.close == first => {
                        let depth = level.depth() + 1;
                        let outer = self.level();
                        outer.inner = outer.inner.max(depth);
                    }
                    _ => {
                        return refuse(
                            at,
                            format!(
                                "`{}` closes nothing that was opened by its like: look for the bracket that is missing",
                                char::from(first)
                            ),
                        );
                    }
                }
            }
            b',' => {
                let most = self.limits.elements;
                let level = self.level();
                level.end_element();
                level.elements += 1;
                if level.elements > most {
                    let of = if level.is_set { "a set" } else { "a list" };
                    return refuse(
                        at,
                        format!("{of} has more than {most} elements: use a role, a tenant or a filter for all of them"),
                    );
                }
            }
            b';' if self.levels.len() == 1 => {
                self.in_rule = false;
                self.levels.clear();
            }
            b'@' => {
                self.clause(at)?;
                self.level().others += 1;
            }
            _ => {
                match pair {
                    b"||" => self.level().or(),
                    b"&&" => self.level().and(),
                    b"==" | b"!=" | b"<=" | b">=" | b"::" => self.level().others += 1,
                    _ => {
                        if !first.is_ascii_digit() {
                            self.level().others += 1;
                        }
                        self.deep(at)?;
                        return Ok(1);
                    }
                }
                self.deep(at)?;
                return Ok(2);
            }
        }
        self.deep(at)?;
        Ok(1)
    }

    /// Refuses what has become too deep. What lies in outer brackets counts
    /// when these close; here it is enough that none of the levels is too deep
    /// by itself, and that [`Self::end`] sees them all.
    fn deep(&mut self, at: usize) -> Result<(), Refusal> {
        if self.level().depth() > DEPTH {
            return refuse(
                at,
                format!(
                    "operators and brackets are more than {DEPTH} steps deep: use a set with `in` or `contains`, or several rules"
                ),
            );
        }
        Ok(())
    }

    fn end(self, length: usize) -> Result<Scan, Refusal> {
        if self.levels.len() > 1 {
            return refuse(length, "a bracket is open at the end: close it".into());
        }
        Ok(Scan { rules: self.rules })
    }
}

/// Line and column of a byte, both from 1; columns count characters.
pub(crate) fn place(text: &str, offset: usize) -> (u32, u32) {
    let before = text.char_indices().take_while(|(at, _)| *at < offset).map(|(_, c)| c);
    let (mut line, mut column) = (1, 1);
    for c in before {
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    (line, column)
}
