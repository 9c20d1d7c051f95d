//! Texts with places in braces, which people write to say how a line looks: `{id} {state}`; `{{` and `}}` are braces.

/// A part of such a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<T> {
    Text(String),
    Place(T),
}

/// Reads a text; `place` reads what stands between braces.
///
/// # Errors
/// A brace stands alone, or a place is none: where, and why.
pub(super) fn parts<T>(
    text: &str,
    place: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<Part<T>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut plain = String::new();
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        plain.push_str(before);
        let doubled = ["{{", "}}"].iter().find(|two| brace.starts_with(**two));
        if let Some(two) = doubled {
            plain.push_str(&two[1..]);
            rest = &brace[2..];
            continue;
        }
        let column = 1 + text[..text.len() - brace.len()].chars().count();
        let inside = brace
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'));
        let Some((inside, after)) = inside else {
            return Err(format!(
                "a brace at column {column} stands alone; write {{{{ or }}}} for one"
            ));
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        let place = place(inside).map_err(|why| format!("column {}: {why}", column + 1))?;
        parts.push(Part::Place(place));
        rest = after;
    }
    plain.push_str(rest);
    parts.push(Part::Text(plain));
    Ok(parts)
}
