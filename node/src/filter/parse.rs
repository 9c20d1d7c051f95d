//! From text to a filter, with `winnow`. Whatever goes wrong after a test has begun is told at once, where it stands.

use std::borrow::Cow;

use winnow::ascii::multispace0;
use winnow::combinator::{alt, opt, preceded, separated};
use winnow::error::{ErrMode, ParserError};
use winnow::stream::{Stateful, Stream};
use winnow::token::{one_of, take_till, take_while};
use winnow::{ModalResult, Parser};

use super::field::Literal;
use super::{Expr, Field, FilterError, Glob, MOST_BYTES, MOST_DEPTH, Op, Test};

/// What is left to read, and how deep in parentheses and `not`s it stands.
type Input<'s> = Stateful<&'s str, u8>;

/// Words that are text in quotes only.
const RESERVED: [&str; 5] = ["and", "or", "not", "in", "none"];

/// What is wrong, and how many bytes were left there.
#[derive(Debug)]
struct Fault {
    left: usize,
    what: String,
}

impl<'s> ParserError<Input<'s>> for Fault {
    type Inner = Self;

    fn from_input(input: &Input<'s>) -> Self {
        let (left, what) = (input.eof_offset(), String::new());
        Self { left, what }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

type Parsed<T> = ModalResult<T, Fault>;

/// Reads a whole filter.
pub(super) fn filter(text: &str) -> Result<Expr, FilterError> {
    if text.len() > MOST_BYTES {
        return Err(FilterError {
            column: 1,
            what: format!("it is longer than {MOST_BYTES} bytes"),
        });
    }
    let mut input = Input {
        input: text,
        state: 0,
    };
    let parsed = any(&mut input).and_then(|expr| {
        blank(&mut input)?;
        match input.is_empty() {
            true => Ok(expr),
            false => Err(expected(&input, "'and', 'or' or its end")),
        }
    });
    parsed.map_err(|error| {
        let (ErrMode::Backtrack(fault) | ErrMode::Cut(fault)) = error else {
            // Nothing here waits for more input.
            unreachable!("a whole text is complete");
        };
        let read = text.len().saturating_sub(fault.left);
        let column = text.char_indices().take_while(|(at, _)| *at < read).count() + 1;
        FilterError {
            column,
            what: fault.what,
        }
    })
}

/// Returns text as a word, in quotes where it needs them.
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    let bare = !text.is_empty() && text.chars().all(is_bare) && !is_reserved(text);
    if bare {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', "''")))
    }
}

fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !"()'\",=!<>~".contains(c)
}

fn is_reserved(word: &str) -> bool {
    let mut reserved = RESERVED.iter();
    reserved.any(|own| own.eq_ignore_ascii_case(word))
}

fn wrong(left: usize, what: String) -> ErrMode<Fault> {
    ErrMode::Cut(Fault { left, what })
}

/// That something else stands here than should.
fn expected(input: &Input<'_>, what: &str) -> ErrMode<Fault> {
    let mut at = *input;
    // Blanks are always there to be skipped, if only none.
    let _skipped = blank(&mut at);
    let found = peeked(at).unwrap_or_else(|| "its end".to_owned());
    wrong(at.eof_offset(), format!("expected {what}, found {found}"))
}

/// What stands here, for people.
fn peeked(mut at: Input<'_>) -> Option<String> {
    let word = opt(word).parse_next(&mut at).ok()?;
    let symbol = || at.input.chars().next().map(|c| c.to_string());
    word.map(str::to_owned)
        .or_else(symbol)
        .map(|text| quoted(&text).into_owned())
}

fn blank(input: &mut Input<'_>) -> Parsed<()> {
    multispace0.void().parse_next(input)
}

fn word<'s>(input: &mut Input<'s>) -> Parsed<&'s str> {
    preceded(blank, take_while(1.., is_bare)).parse_next(input)
}

fn keyword<'s>(own: &'static str) -> impl Parser<Input<'s>, (), ErrMode<Fault>> {
    word.verify(|word: &str| word.eq_ignore_ascii_case(own))
        .void()
}

fn symbol<'s>(own: &'static str) -> impl Parser<Input<'s>, (), ErrMode<Fault>> {
    preceded(blank, own).void()
}

fn has<'s>(
    input: &mut Input<'s>,
    parser: impl Parser<Input<'s>, (), ErrMode<Fault>>,
) -> Parsed<bool> {
    opt(parser).map(|found| found.is_some()).parse_next(input)
}

fn must<'s>(
    input: &mut Input<'s>,
    parser: impl Parser<Input<'s>, (), ErrMode<Fault>>,
    what: &str,
) -> Parsed<()> {
    if has(input, parser)? {
        Ok(())
    } else {
        Err(expected(input, what))
    }
}

fn any(input: &mut Input<'_>) -> Parsed<Expr> {
    let parts = separated(1.., all, keyword("or")).parse_next(input)?;
    Ok(one_or(parts, Expr::Any))
}

fn all(input: &mut Input<'_>) -> Parsed<Expr> {
    let parts = separated(1.., one, keyword("and")).parse_next(input)?;
    Ok(one_or(parts, Expr::All))
}

fn one_or(mut parts: Vec<Expr>, many: impl Fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            many(parts)
        }
    }
}

fn one(input: &mut Input<'_>) -> Parsed<Expr> {
    if has(input, keyword("not"))? {
        let part = deeper(input, one)?;
        return Ok(Expr::Not(Box::new(part)));
    }
    if has(input, symbol("("))? {
        let part = deeper(input, any)?;
        must(input, symbol(")"), "'and', 'or' or ')'")?;
        return Ok(part);
    }
    let field = field(input)?;
    let test = test(input, field)?;
    Ok(Expr::Test(field, test))
}

fn deeper(input: &mut Input<'_>, part: fn(&mut Input<'_>) -> Parsed<Expr>) -> Parsed<Expr> {
    if input.state >= MOST_DEPTH {
        let what = format!("more than {MOST_DEPTH} parentheses and nots stand inside each other");
        return Err(wrong(input.eof_offset(), what));
    }
    input.state += 1;
    let part = part(input)?;
    input.state -= 1;
    Ok(part)
}

fn field(input: &mut Input<'_>) -> Parsed<Field> {
    const WHAT: &str = "a field, 'not' or '('";
    let start = *input;
    let Some(name) = opt(word).parse_next(input)? else {
        return Err(expected(&start, WHAT));
    };
    if is_reserved(name) {
        return Err(expected(&start, WHAT));
    }
    let left = input.eof_offset() + name.len();
    Field::find(name).ok_or_else(|| {
        let instead = Field::instead_of(name);
        wrong(left, format!("there is no field '{name}'; {instead}"))
    })
}

/// How a field is tested.
#[derive(Clone, Copy)]
enum Sign {
    Op(Op),
    Like,
    Unlike,
}

fn sign(input: &mut Input<'_>) -> Parsed<Sign> {
    let signs = alt((
        "==".value(Sign::Op(Op::Equal)),
        "=".value(Sign::Op(Op::Equal)),
        "!=".value(Sign::Op(Op::Unequal)),
        "!~".value(Sign::Unlike),
        "<=".value(Sign::Op(Op::AtMost)),
        "<".value(Sign::Op(Op::Less)),
        ">=".value(Sign::Op(Op::AtLeast)),
        ">".value(Sign::Op(Op::More)),
        "~".value(Sign::Like),
    ));
    preceded(blank, signs).parse_next(input)
}

fn test(input: &mut Input<'_>, field: Field) -> Parsed<Test> {
    blank(input)?;
    let start = *input;
    let misfit = || {
        let (name, tests) = (field.name(), field.kind().tests());
        wrong(start.eof_offset(), format!("{name} takes {tests}"))
    };
    let Some(sign) = opt(sign).parse_next(input)? else {
        return list_test(input, field);
    };
    let kind = field.kind();
    match sign {
        Sign::Like | Sign::Unlike if !kind.is_text() => Err(misfit()),
        Sign::Like => text(input).map(|text| Test::Like(Glob::new(text.1))),
        Sign::Unlike => text(input).map(|text| Test::Unlike(Glob::new(text.1))),
        Sign::Op(op @ (Op::Equal | Op::Unequal)) => {
            literal(input, field).map(|literal| Test::Is(op, literal))
        }
        Sign::Op(_) if !kind.is_ordered() => Err(misfit()),
        Sign::Op(op) => {
            blank(input)?;
            let left = input.eof_offset();
            match literal(input, field)? {
                Literal::None => {
                    let what = "none is neither less nor more than anything: it takes = and !=";
                    Err(wrong(left, what.to_owned()))
                }
                literal => Ok(Test::Is(op, literal)),
            }
        }
    }
}

fn list_test(input: &mut Input<'_>, field: Field) -> Parsed<Test> {
    let start = *input;
    let negated = has(input, keyword("not"))?;
    if !has(input, keyword("in"))? {
        let (name, tests) = (field.name(), field.kind().tests());
        let at = if negated { *input } else { start };
        return Err(expected(&at, &format!("a test of {name} ({tests})")));
    }
    must(input, symbol("("), "'('")?;
    let list = separated(
        1..,
        |input: &mut Input<'_>| literal(input, field),
        symbol(","),
    );
    let list: Vec<Literal> = { list }.parse_next(input)?;
    must(input, symbol(")"), "',' or ')'")?;
    Ok(if negated {
        Test::NotIn(list)
    } else {
        Test::In(list)
    })
}

fn literal(input: &mut Input<'_>, field: Field) -> Parsed<Literal> {
    blank(input)?;
    let left = input.eof_offset();
    let (is_bare, text) = text_or_none(input)?;
    if is_bare && text.eq_ignore_ascii_case("none") {
        return Ok(Literal::None);
    }
    let kind = field.kind();
    kind.read(&text)
        .map_err(|why| wrong(left, format!("'{text}' is no {}: {why}", kind.noun())))
}

/// A word or quoted text, and whether it is a bare word.
fn text(input: &mut Input<'_>) -> Parsed<(bool, String)> {
    let start = *input;
    match text_or_none(input)? {
        (true, word) if word.eq_ignore_ascii_case("none") => Err(expected(&start, "text")),
        text => Ok(text),
    }
}

fn text_or_none(input: &mut Input<'_>) -> Parsed<(bool, String)> {
    let start = *input;
    if let Some(word) = opt(word).parse_next(input)? {
        if is_reserved(word) && !word.eq_ignore_ascii_case("none") {
            return Err(expected(&start, "a value (a word, or text in quotes)"));
        }
        return Ok((true, word.to_owned()));
    }
    blank(input)?;
    let begin = input.eof_offset();
    let Some(quote) = opt(one_of(['\'', '"'])).parse_next(input)? else {
        return Err(expected(&start, "a value (a word, or text in quotes)"));
    };
    let mut text = String::new();
    loop {
        let part: &str = take_till(0.., quote).parse_next(input)?;
        text.push_str(part);
        if opt(quote).parse_next(input)?.is_none() {
            return Err(wrong(
                begin,
                format!("the text that begins with {quote} has no end"),
            ));
        }
        if opt(quote).parse_next(input)?.is_none() {
            return Ok((false, text));
        }
        text.push(quote);
    }
}
