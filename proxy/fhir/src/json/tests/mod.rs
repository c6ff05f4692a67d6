use super::*;

mod grammar;

/// The tokens of a text that is known whole, and the fault that ended them.
fn read(text: &[u8], limits: Limits) -> (Vec<Token>, Option<JsonError>) {
    let mut tokens = Tokens::new(text, limits);
    let mut all = Vec::new();
    loop {
        match tokens.next_token() {
            Ok(Some(token)) => all.push(token),
            Ok(None) => return (all, None),
            Err(fault) => return (all, Some(fault)),
        }
    }
}

/// The same of a text that comes in pieces.
fn read_pieces<'a>(
    parts: impl IntoIterator<Item = &'a [u8]>,
    limits: Limits,
) -> (Vec<Token>, Option<JsonError>) {
    let mut tokenizer = Tokenizer::new(limits);
    let mut all = Vec::new();
    for part in parts {
        let mut at = 0;
        loop {
            match tokenizer.next_token(part, &mut at) {
                Ok(Some(token)) => all.push(token),
                Ok(None) => break,
                Err(fault) => return (all, Some(fault)),
            }
        }
    }
    loop {
        match tokenizer.finish() {
            Ok(Some(token)) => all.push(token),
            Ok(None) => return (all, None),
            Err(fault) => return (all, Some(fault)),
        }
    }
}

fn whole(text: &[u8]) -> Result<Vec<Token>, JsonError> {
    let (tokens, fault) = read(text, Limits::default());
    fault.map_or(Ok(tokens), Err)
}

/// What each token says: its kind and its text, unescaped where it is a key or string.
fn said(text: &[u8], tokens: &[Token]) -> Vec<String> {
    let raw = |t: &Token| &text[t.start as usize..t.end as usize];
    tokens
        .iter()
        .map(|t| match t.kind {
            Kind::Key => format!("k{}", unescape(raw(t))),
            Kind::String => format!("s{}", unescape(raw(t))),
            Kind::Number => format!("n{}", String::from_utf8_lossy(raw(t))),
            _ => String::from_utf8_lossy(raw(t)).into_owned(),
        })
        .collect()
}
