//! The sheet as one HTML page in the officer page's style: to be read on a screen, printed and signed.

use std::fmt::Write as _;

use drape_view::Category;

use super::markdown::{capital, redaction, short, withheld};
use super::party::{Account, categories_in_words};
use super::{ALWAYS, Heading, READING, Sheet, about, line_words, rows, who};
use crate::officer::page::{STYLE, escape};

pub(super) fn whole(sheet: &Sheet, heading: &Heading) -> String {
    let mut main = String::new();
    head(&mut main, sheet, heading);
    overview(&mut main, sheet);
    main.push_str("<h2 class=\"part\">Caller by caller</h2>");
    sheet.accounts.iter().for_each(|account| self::account(&mut main, account));
    list(&mut main, "Whatever policies say", &ALWAYS);
    main.push_str("<section><h2>Treatments</h2><dl>");
    for (name, means) in about::TREATMENTS {
        let _ = write!(main, "<dt>{name}</dt><dd>{}</dd>", escape(means));
    }
    main.push_str("</dl></section>");
    categories(&mut main, sheet);
    labels(&mut main, sheet);
    policies(&mut main, sheet);
    signatures(&mut main, sheet, heading);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Who is shown what · {}</title><style>{STYLE}</style></head>\
         <body class=\"sheet\"><header><h1>Who is shown what</h1></header><main>{main}</main></body></html>",
        escape(sheet.digest.get(..12).unwrap_or(&sheet.digest))
    )
}

fn head(main: &mut String, sheet: &Sheet, heading: &Heading) {
    let _ = write!(
        main,
        "<section><dl><dt>Policies</dt><dd>{}</dd><dt>Digest</dt><dd><code>{}</code></dd><dt>Redaction</dt><dd>{}</dd>\
         <dt>Sheet</dt><dd>SHA-256 <code>{}</code></dd><dt>Made</dt><dd>{}</dd></dl></section>",
        escape(&sheet.source),
        escape(&sheet.digest),
        redaction(sheet),
        sheet.hash(),
        escape(&heading.made)
    );
    list(main, "How to read this sheet", &READING);
}

fn list(main: &mut String, title: &str, sentences: &[&str]) {
    let _ = write!(main, "<section><h2>{title}</h2><ul>");
    for sentence in sentences {
        let _ = write!(main, "<li>{}</li>", escape(sentence));
    }
    main.push_str("</ul></section>");
}

fn overview(main: &mut String, sheet: &Sheet) {
    main.push_str(
        "<section><h2>Overview</h2><p class=\"dim\">What happens to each category in the records that reach a caller. \
         A dash: no record does.</p><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Overview\"><table \
         class=\"matrix\"><caption>Categories by caller</caption><thead><tr><th scope=\"col\">Category</th>",
    );
    for account in &sheet.accounts {
        let _ = write!(main, "<th scope=\"col\">{}</th>", escape(&account.party.name));
    }
    main.push_str("</tr></thead><tbody>");
    for category in Category::ALL {
        let _ = write!(main, "<tr><th scope=\"row\">{category}</th>");
        for account in &sheet.accounts {
            let text = short(account, category);
            let class = match text {
                "shown" => "all",
                "left out" | "–" => "none",
                _ => "some",
            };
            let _ = write!(main, "<td class=\"{class}\">{}</td>", escape(text));
        }
        main.push_str("</tr>");
    }
    main.push_str("</tbody></table></div></section>");
}

fn account(main: &mut String, account: &Account) {
    let party = &account.party;
    let _ = write!(
        main,
        "<section class=\"caller\"><h3>{}</h3><p>{}; {}.</p>",
        escape(&party.name),
        escape(&capital(&party.says)),
        escape(&who(party))
    );
    if account.requests.is_empty() {
        main.push_str("<p>May ask for nothing.</p></section>");
        return;
    }
    lines(main, "May", account.requests.iter().map(|l| (line_words(l), &l.policies)));
    if account.receives.is_empty() {
        main.push_str("<p>No record reaches this caller.</p>");
    } else {
        let reach = account.receives.iter().map(|line| {
            let condition = line.condition.as_ref().map(|c| format!(", where {c}")).unwrap_or_default();
            (format!("{}{condition}", line.of), &line.policies)
        });
        lines(main, "These records reach this caller", reach);
        if !account.withheld.is_empty() {
            let never = account.withheld.iter().map(|line| (withheld(line), &line.policies));
            lines(main, "But never, whatever else is permitted", never);
        }
        let _ = write!(
            main,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Categories for {0}\"><table><caption>Of these \
             records</caption><thead><tr><th scope=\"col\">Categories</th><th scope=\"col\">What happens</th>\
             <th scope=\"col\">Policies</th></tr></thead><tbody>",
            escape(&party.name)
        );
        for row in rows(account) {
            let _ = write!(
                main,
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&categories_in_words(&row.categories)),
                escape(&capital(&row.fate.long)),
                ids(&row.fate.policies)
            );
        }
        main.push_str("</tbody></table></div>");
    }
    if !account.uses.is_empty() {
        lines(main, "Also", account.uses.iter().map(|l| (line_words(l), &l.policies)));
    }
    main.push_str("</section>");
}

fn lines<'a>(main: &mut String, title: &str, lines: impl Iterator<Item = (String, &'a Vec<String>)>) {
    let _ = write!(main, "<h4>{title}</h4><ul>");
    for (words, policies) in lines {
        let _ = write!(main, "<li>{} <span class=\"dim\">{}</span></li>", escape(&words), ids(policies));
    }
    main.push_str("</ul>");
}

fn ids(policies: &[String]) -> String {
    match policies {
        [] => "<span class=\"dim\">no policy permits more</span>".into(),
        _ => policies
            .iter()
            .map(|id| format!("<a href=\"#p-{0}\"><code>{0}</code></a>", escape(id)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn categories(main: &mut String, sheet: &Sheet) {
    main.push_str(
        "<section><h2>Categories</h2><table><thead><tr><th scope=\"col\">Category</th><th scope=\"col\">Holds</th>\
         <th scope=\"col\">For example</th></tr></thead><tbody>",
    );
    for (category, examples) in &sheet.categories {
        let examples: Vec<String> = examples.iter().map(|e| format!("<code>{}</code>", escape(e))).collect();
        let _ = write!(
            main,
            "<tr><th scope=\"row\">{category}</th><td>{}</td><td>{}</td></tr>",
            about::category(*category),
            examples.join(", ")
        );
    }
    main.push_str("</tbody></table></section>");
}

fn labels(main: &mut String, sheet: &Sheet) {
    if sheet.labels.is_empty() {
        return;
    }
    let _ = write!(
        main,
        "<section><h2>Labels</h2><p>The policies read these sensitivity labels, found by code lists of {}.</p><dl>",
        escape(&sheet.labels_as_of)
    );
    for label in &sheet.labels {
        let _ = write!(main, "<dt>{}</dt><dd>{}</dd>", escape(label), about::label(label));
    }
    main.push_str("</dl></section>");
}

fn policies(main: &mut String, sheet: &Sheet) {
    main.push_str("<section><h2>Each policy</h2><dl class=\"policies\">");
    for policy in &sheet.policies {
        let effect = if policy.permits { "permits" } else { "forbids" };
        let id = escape(&policy.id);
        let _ = write!(
            main,
            "<dt id=\"p-{id}\"><code>{id}</code> <span class=\"dim\">{effect} · {}</span></dt><dd>",
            escape(&policy.place)
        );
        match &policy.words {
            Some(words) => main.push_str(&escape(words)),
            None => {
                let _ =
                    write!(main, "It has no words here; in Cedar:<pre>{}</pre>", escape(policy.cedar.trim()));
            }
        }
        main.push_str("</dd>");
    }
    main.push_str("</dl></section>");
}

fn signatures(main: &mut String, sheet: &Sheet, heading: &Heading) {
    let _ = write!(
        main,
        "<section class=\"sign\"><h2>Signatures</h2><p>I have read this sheet, SHA-256 <code>{}</code>, and approve of the \
         policies with the digest <code>{}</code>.</p>",
        sheet.hash(),
        escape(&sheet.digest)
    );
    if !heading.approvals.is_empty() {
        main.push_str("<p>In the log already:</p><ul>");
        for approval in &heading.approvals {
            let _ = write!(main, "<li>{}</li>", escape(approval));
        }
        main.push_str("</ul>");
    }
    main.push_str(
        "<table><thead><tr><th scope=\"col\">Name</th><th scope=\"col\">Date</th><th scope=\"col\">Signature</th></tr></thead>\
         <tbody><tr class=\"line\"><td></td><td></td><td></td></tr><tr class=\"line\"><td></td><td></td><td></td></tr></tbody></table></section>",
    );
}
