//! The language word by word: what it says, what it refuses, and what fits.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use crdt::task::TaskState;
use proptest::prelude::*;

use super::*;

/// A task that has everything, or only what every task has.
#[derive(Clone, Copy)]
enum Sample {
    Ended,
    Waits,
}

const HOUR: Duration = Duration::from_secs(3_600);
/// 2026-01-02T03:04:05Z.
const AT: u64 = 1_767_323_045_000;

impl Subject for Sample {
    fn value(&self, field: Field) -> Value<'_> {
        let ended = |value| match self {
            Self::Ended => value,
            Self::Waits => Value::None,
        };
        match field {
            Field::State => Value::State(match self {
                Self::Ended => TaskState::Error,
                Self::Waits => TaskState::Blocked,
            }),
            Field::After => match self {
                Self::Ended => Value::Texts(vec!["a-1".to_owned(), "b-2".to_owned()].into()),
                Self::Waits => Value::Texts(Vec::new().into()),
            },
            Field::Priority => Value::Number(1_000.0),
            Field::Age => Value::Span(2 * HOUR),
            Field::Created => Value::Time(AT),
            Field::Name => ended(Value::text(Some("render it's 7"))),
            Field::Exit => ended(Value::Number(3.0)),
            Field::Signal => ended(Value::Number(9.0)),
            Field::Memory => ended(Value::Size(4 << 30)),
            Field::Wall => ended(Value::Span(Duration::from_secs(90))),
            _ => Value::None,
        }
    }
}

fn fits(text: &str, sample: Sample) -> bool {
    text.parse::<Filter>().unwrap().fits(&sample)
}

#[test]
fn fits_table() {
    for text in [
        "state = error",
        "STATE == COMPLETE",
        "state in (success, error) and name ~ 'render*'",
        "state in (ACTIVE, complete)",
        "not state in (success)",
        "state not in (success, ACTIVE)",
        "exit = 3 and exit != 4 and exit > 2 and exit >= 3 and exit < 4 and exit <= 3",
        "exit in (1, 3)",
        "signal = KILL",
        "memory >= 4GiB and memory > 1G",
        "age > 1h and age < 3h and age >= 7200",
        "wall>1m and not(wall>10m)",
        "created < '2026-06-01 12:00' and created >= 2026-01-02T03:04:05Z",
        "name = 'render it''s 7'",
        "name ~ \"*it's*\"",
        "name !~ *x*",
        "after = b-2",
        "after ~ a*",
        "queue = none and queue = '' and queue != render",
        "exit != none",
        "priority >= -5",
        "exit = 9 or exit = 3",
        "exit = 9 and exit = 3 or exit = 3",
        "(exit = 9 or exit = 3) and state = error",
    ] {
        assert!(fits(text, Sample::Ended), "{text}");
    }
}

#[test]
fn what_is_not_there_fits_nothing_but_none() {
    for text in [
        "exit = 0",
        "exit != 0",
        "exit < 1",
        "exit >= 0",
        "exit in (0, 1)",
        "exit not in (0, 1)",
        "wall > 0s",
        "after = a-1",
        "name ~ '?*'",
    ] {
        assert!(!fits(text, Sample::Waits), "{text}");
    }
    for text in [
        "exit = none",
        "not exit = 0",
        "exit in (0, none)",
        "after = none",
        "after != a-1",
        "name = none",
        "name !~ '?*'",
    ] {
        assert!(fits(text, Sample::Waits), "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_column() {
    let deep = "(".repeat(33);
    for (text, told) in [
        (
            "",
            "column 1 of the filter: expected a field, 'not' or '(', found its end",
        ),
        (
            "sate = error",
            "column 1 of the filter: there is no field 'sate'; do you mean state?",
        ),
        (
            "state = eror",
            "column 9 of the filter: 'eror' is no state: states are creating, ",
        ),
        (
            "é = 1",
            "column 1 of the filter: there is no field 'é'; fields are id state ",
        ),
        (
            "name = é and x = 1",
            "column 14 of the filter: there is no field 'x'; fields are ",
        ),
        (
            "state > error",
            "column 7 of the filter: state takes =, != and in",
        ),
        (
            "age ~ 1h",
            "column 5 of the filter: age takes =, !=, <, <=, >, >= and in",
        ),
        (
            "name is x",
            "column 6 of the filter: expected a test of name (=, !=, ~, !~ and in), found is",
        ),
        (
            "name not like x",
            "column 10 of the filter: expected a test of name (=, !=, ~, !~ and in), found like",
        ),
        (
            "age > 1parsec",
            "column 7 of the filter: '1parsec' is no length of time: write a length of time as 500ms, ",
        ),
        (
            "memory > big",
            "column 10 of the filter: 'big' is no size: write a size as 512M, ",
        ),
        (
            "exit = x",
            "column 8 of the filter: 'x' is no number: write a number",
        ),
        (
            "exit = NaN",
            "column 8 of the filter: 'NaN' is no number: write a number",
        ),
        (
            "signal = FOO",
            "column 10 of the filter: 'FOO' is no signal: signals are called HUP ",
        ),
        (
            "created > soon",
            "column 11 of the filter: 'soon' is no instant: write 18:30, ",
        ),
        (
            "exit < none",
            "column 8 of the filter: none is neither less nor more than anything",
        ),
        (
            "name ~ none",
            "column 8 of the filter: expected text, found 'none'",
        ),
        (
            "exit =",
            "column 7 of the filter: expected a value (a word, or text in quotes), found its end",
        ),
        (
            "exit = and",
            "column 8 of the filter: expected a value (a word, or text in quotes), found 'and'",
        ),
        (
            "exit = 3 exit = 4",
            "column 10 of the filter: expected 'and', 'or' or its end, found exit",
        ),
        (
            "exit = 3 && x",
            "column 10 of the filter: expected 'and', 'or' or its end, found &&",
        ),
        (
            "(exit = 3",
            "column 10 of the filter: expected 'and', 'or' or ')', found its end",
        ),
        (
            "exit = 3)",
            "column 9 of the filter: expected 'and', 'or' or its end, found ')'",
        ),
        ("exit in 3", "column 9 of the filter: expected '(', found 3"),
        (
            "exit in ()",
            "column 10 of the filter: expected a value (a word, or text in quotes), found ')'",
        ),
        (
            "exit in (3 4)",
            "column 12 of the filter: expected ',' or ')', found 4",
        ),
        (
            "name = 'a",
            "column 8 of the filter: the text that begins with ' has no end",
        ),
        (
            "exit = 3 or",
            "column 12 of the filter: expected a field, 'not' or '(', found its end",
        ),
        (
            "exit = 3 or and",
            "column 13 of the filter: expected a field, 'not' or '(', found 'and'",
        ),
        (
            &deep,
            "column 34 of the filter: more than 32 parentheses and nots stand inside each other",
        ),
        (
            &"x".repeat(4_097),
            "column 1 of the filter: it is longer than 4096 bytes",
        ),
    ] {
        let error = text.parse::<Filter>().unwrap_err().to_string();
        assert!(error.starts_with(told), "{text}: {error}");
    }
}

#[test]
fn what_travels_means_the_same() {
    for (text, shown) in [
        ("STATE==Error", "state = error"),
        ("state=active", "state = ACTIVE"),
        (
            "name='and'or name=\"it's\"",
            "name = 'and' or name = 'it''s'",
        ),
        ("age>90", "age > 1m30s"),
        ("memory<4k", "memory < 4000"),
        ("signal=sigkill", "signal = 9"),
        (
            "created<2026-01-02T04:04:05+01:00",
            "created < 2026-01-02T03:04:05Z",
        ),
        (
            "not(exit=1 and(exit=2 or exit=3))",
            "not (exit = 1 and (exit = 2 or exit = 3))",
        ),
        (
            "exit=1 or(exit=2 and exit=3)",
            "exit = 1 or exit = 2 and exit = 3",
        ),
        ("((exit NOT IN(1,none)))", "exit not in (1, none)"),
    ] {
        assert_eq!(text.parse::<Filter>().unwrap().to_string(), shown);
        assert_eq!(shown.parse::<Filter>().unwrap().to_string(), shown);
    }
}

#[test]
fn every_field_is_explained() {
    let help = Filter::help();
    for field in Field::ALL {
        assert!(
            help.contains(&format!("\n  {} ", field.name())),
            "{field:?}"
        );
        assert_eq!(Field::find(&field.name().to_uppercase()), Some(*field));
    }
    assert!(
        help.lines().all(|line| line.chars().count() <= 130),
        "{help}"
    );
}

fn literal(kind: Kind) -> BoxedStrategy<Literal> {
    let own = match kind {
        Kind::Text | Kind::Texts => any::<String>()
            .prop_filter("it is read", |text| text.len() < 99)
            .prop_map(Literal::Text)
            .boxed(),
        Kind::State => prop::sample::select(vec![
            States::Ready,
            States::Complete,
            States::One(TaskState::Lost),
        ])
        .prop_map(Literal::State)
        .boxed(),
        Kind::Number => (-1e9..1e9_f64).prop_map(Literal::Number).boxed(),
        Kind::Signal => (1..65_i32).prop_map(|n| Literal::Number(n.into())).boxed(),
        Kind::Size => any::<u64>().prop_map(Literal::Size).boxed(),
        Kind::Span => (0..u64::from(u32::MAX), 0..1_000_000_000_u32)
            .prop_map(|(s, ns)| Literal::Span(Duration::new(s, ns)))
            .boxed(),
        Kind::Time => (0..253_402_207_200_000_u64).prop_map(Literal::Time).boxed(),
    };
    prop_oneof![9 => own, 1 => Just(Literal::None)].boxed()
}

fn test_of(field: Field) -> BoxedStrategy<Expr> {
    let kind = field.kind();
    let equal = (
        prop_oneof![Just(Op::Equal), Just(Op::Unequal)],
        literal(kind),
    );
    let list = prop::collection::vec(literal(kind), 1..4);
    let mut tests = vec![
        equal
            .prop_map(|(op, literal)| Test::Is(op, literal))
            .boxed(),
        list.clone().prop_map(Test::In).boxed(),
        list.prop_map(Test::NotIn).boxed(),
    ];
    if kind.is_text() {
        let glob = || "[a*?' \"é=]{0,9}".prop_map(Glob::new);
        tests.push(glob().prop_map(Test::Like).boxed());
        tests.push(glob().prop_map(Test::Unlike).boxed());
    }
    if kind.is_ordered() {
        let ops = vec![Op::Less, Op::AtMost, Op::More, Op::AtLeast];
        let there = literal(kind).prop_filter("it has an order", |of| *of != Literal::None);
        let ordered = (prop::sample::select(ops), there);
        tests.push(
            ordered
                .prop_map(|(op, literal)| Test::Is(op, literal))
                .boxed(),
        );
    }
    prop::strategy::Union::new(tests)
        .prop_map(move |test| Expr::Test(field, test))
        .boxed()
}

fn expr() -> impl Strategy<Value = Expr> {
    let test = prop::sample::select(Field::ALL.to_vec()).prop_flat_map(test_of);
    test.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Any),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::All),
            inner.prop_map(|part| Expr::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn prop_what_is_shown_is_read_alike(expr in expr()) {
        let filter = Filter(expr);
        let text = filter.to_string();
        prop_assume!(text.len() <= MOST_BYTES);
        prop_assert_eq!(text.parse::<Filter>(), Ok(filter), "{}", text);
    }

    #[test]
    fn prop_no_text_breaks_it(text in "([a-z=!<>~()'\", 0-9é]|and|or|not|in|state|name|age|exit){0,40}") {
        match text.parse::<Filter>() {
            Ok(filter) => {
                let _either = (filter.fits(&Sample::Ended), filter.fits(&Sample::Waits));
                prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter));
            }
            Err(error) => {
                prop_assert!(!error.what.is_empty());
                prop_assert!((1..=text.chars().count() + 1).contains(&error.column));
            }
        }
    }

    #[test]
    fn prop_not_turns_around(expr in expr()) {
        let (plain, turned) = (expr.clone(), Expr::Not(Box::new(expr)));
        for sample in [Sample::Ended, Sample::Waits] {
            prop_assert_ne!(plain.fits(&sample), turned.fits(&sample));
        }
    }
}
