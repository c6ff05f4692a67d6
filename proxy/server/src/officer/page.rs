//! The officer page as HTML: integrity first, then accesses, refusals and budgets. No script, no foreign resource.

use std::fmt::Write as _;

use super::shadow;
use crate::watch::ShadowView;

/// Everything the page tells.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Who looks.
    pub officer: String,
    /// The state of each log in words.
    pub integrity: Vec<Integrity>,
    /// The newest entries, newest first.
    pub rows: Vec<Row>,
    /// Requests in an emergency, newest first.
    pub emergencies: Vec<Row>,
    /// Accesses by purpose.
    pub purposes: Vec<(String, u64)>,
    /// Refusals by reason.
    pub refusals: Vec<(String, u64)>,
    /// Budgets.
    pub budgets: Vec<BudgetRow>,
    /// What was searched for: a patient as `Patient/id`.
    pub patient: Option<String>,
    /// The policy sets, by tenant.
    pub policies: Vec<PolicyRow>,
    /// Keys of the configuration that were changed and need a restart.
    pub restart: Vec<String>,
}

/// One tenant's policies.
#[derive(Clone, Debug, Default)]
pub struct PolicyRow {
    /// The tenant.
    pub tenant: String,
    /// Where they come from.
    pub source: String,
    /// The digest in force.
    pub digest: String,
    /// Since when, local time.
    pub since: String,
    /// How many officers must approve.
    pub required: u64,
    /// Who did.
    pub approvals: Vec<String>,
    /// The hash of its sheet, where approvals are lacking.
    pub sheet: Option<String>,
    /// The session's key for forms; none where there is no session to approve by.
    pub form_key: Option<String>,
    /// What stands in the files and is not in force.
    pub candidate: Option<CandidateRow>,
    /// What is asked beside them.
    pub shadow: Option<ShadowView>,
}

/// What stands in the files and is not in force.
#[derive(Clone, Debug, Default)]
pub struct CandidateRow {
    /// Its digest, where it could be loaded.
    pub digest: Option<String>,
    /// When it was found, local time.
    pub found: String,
    /// Why it is not in force.
    pub faults: Vec<String>,
    /// Whether it can be used and waits for officers.
    pub waits: bool,
    /// Who approved of it.
    pub approvals: Vec<String>,
    /// The hash of its sheet, where it waits.
    pub sheet: Option<String>,
}

/// The state of the log.
#[derive(Clone, Debug, Default)]
pub struct Integrity {
    /// Whether everything verified.
    pub sound: bool,
    /// One sentence.
    pub summary: String,
    /// What is wrong, in plain words.
    pub faults: Vec<String>,
    /// Entries.
    pub size: u64,
    /// The tree's root, base64.
    pub root: String,
    /// When it was checked.
    pub checked: String,
}

/// One access or refusal.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The entry's index in the log.
    pub index: u64,
    /// Local time.
    pub time: String,
    /// Who.
    pub who: String,
    /// In which roles.
    pub roles: String,
    /// For what.
    pub purpose: String,
    /// What was done.
    pub what: String,
    /// About whom.
    pub patients: String,
    /// Under which policies.
    pub policies: String,
    /// By which of them what was seen, a line each.
    pub determined: Vec<String>,
    /// The request's id, by which `drape explain --entry` tells more.
    pub decision: String,
    /// How it ended.
    pub outcome: String,
    /// Whether it was refused or failed.
    pub refused: bool,
    /// Why an emergency was declared.
    pub emergency: Option<String>,
}

/// One privacy budget.
#[derive(Clone, Debug, Default)]
pub struct BudgetRow {
    /// Its name.
    pub name: String,
    /// ε spent.
    pub spent: f64,
    /// ε in all.
    pub total: f64,
}

/// The page's one style sheet; the answer's policy allows it by its hash and no other.
pub(crate) const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1a2330;--dim:#56657a;--line:#d5dce6;--card:#fff;--ground:#f4f6f9;--good:#0b6b3a;--goodbg:#e3f4ea;--bad:#9b1c1c;--badbg:#fde8e8;--bar:#2f6fb5;--button:#2a629f;--wait:#7a5200;--waitbg:#fdf3dc}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--dim:#9fb0c5;--line:#33415a;--card:#18202d;--ground:#0f151e;--good:#7ddba4;--goodbg:#123524;--bad:#ff9d9d;--badbg:#451a1a;--bar:#6aa9ee;--button:#2a629f;--wait:#f0c674;--waitbg:#3a2d10}}
*{box-sizing:border-box}body{margin:0;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground)}
header,main,footer{max-width:1320px;margin:0 auto;padding:1rem 1.25rem}header{display:flex;justify-content:space-between;align-items:baseline;gap:1rem;flex-wrap:wrap}
h1{font-size:1.35rem;margin:0}h2{font-size:1.05rem;margin:0 0 .6rem}p{margin:.3rem 0}.dim{color:var(--dim)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.1rem;margin-bottom:1rem}
.banner{border-left:6px solid}.banner.good{border-left-color:var(--good);background:var(--goodbg)}.banner.bad{border-left-color:var(--bad);background:var(--badbg)}.banner.wait{border-left-color:var(--wait);background:var(--waitbg)}.matrix td.some{background:var(--waitbg)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(290px,1fr));gap:1rem}.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600;color:var(--dim);font-size:.85rem}
td{overflow-wrap:break-word}td.t{white-space:nowrap}td.w{overflow-wrap:anywhere}td.w,th.w{min-width:9rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}tr.no td{color:var(--bad)}code{font-size:.85em;overflow-wrap:anywhere}
.bar{display:block;width:100%;height:10px;border-radius:4px;background:var(--line)}.bar rect{fill:var(--bar)}
h3{font-size:.95rem;margin:0 0 .3rem}dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}div.banner{padding:.7rem .9rem;margin-top:.8rem;border-radius:6px}ul{margin:.4rem 0;padding-left:1.2rem}li{overflow-wrap:anywhere;white-space:pre-line}
label{display:block;margin-bottom:.3rem}input,textarea{font:inherit;padding:.4rem .5rem;border:1px solid var(--line);border-radius:6px;background:var(--ground);color:var(--ink);width:100%;max-width:42rem}
details ul{margin:.3rem 0;padding-left:1.1rem}summary{cursor:pointer}
button{font:inherit;padding:.4rem .9rem;border:0;border-radius:6px;background:var(--button);color:#fff;cursor:pointer}form.row{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin-bottom:.8rem}form.row label{width:100%;margin:0}form.row input{flex:1}textarea{display:block;margin-bottom:.6rem}:focus-visible{outline:2px solid var(--bar);outline-offset:2px}
caption{text-align:left;font-weight:600;padding:.3rem 0}h4{font-size:.9rem;margin:.6rem 0 .1rem}.part{margin:1.4rem 0 .6rem}tbody th{color:var(--ink);white-space:nowrap}.matrix td.all{background:var(--goodbg)}.matrix td.none{color:var(--dim)}.matrix td,.matrix th{padding:.3rem .5rem;font-size:.85rem}dl.policies{display:block}dl.policies dt{margin-top:.7rem;color:var(--ink)}pre{white-space:pre-wrap;overflow-wrap:anywhere}tr.line td{height:3.2rem;min-width:12rem}.sheet a{color:inherit}
@media print{body{background:#fff;font-size:11px}form{display:none}section{break-inside:avoid;border:0;padding:0}section.caller{break-inside:auto}.scroll{overflow:visible}tr{break-inside:avoid}}";

/// Text that can stand in HTML, in quotes too.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn frame(title: &str, who: &str, main: &str) -> String {
    let who = if who.is_empty() {
        String::new()
    } else {
        format!(
            "<form method=\"post\" action=\"/officer/sign-out\"><span class=\"dim\">{} · this view is itself entered in \
             the log</span> <button type=\"submit\">Sign out</button></form>",
            escape(who)
        )
    };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><style>{STYLE}</style></head><body>\
         <header><h1>Drape · privacy officer</h1>{who}</header><main>{main}</main></body></html>"
    )
}

/// The page that asks for an officer's token. `fault` says why the last one was not taken.
pub fn sign_in(fault: Option<&str>) -> String {
    let fault = fault
        .map(|f| format!("<section class=\"banner bad\" role=\"alert\"><p>{}</p></section>", escape(f)))
        .unwrap_or_default();
    let form = "<section><h2>Sign in</h2><form method=\"post\" action=\"/officer/session\">\
        <label for=\"token\">Access token of a privacy officer</label>\
        <textarea id=\"token\" name=\"token\" rows=\"5\" required autocomplete=\"off\" spellcheck=\"false\"></textarea>\
        <button type=\"submit\">Open</button></form>\
        <p class=\"dim\">The token is checked like any caller's. It stays with Drape until it expires or you sign \
        out; the browser keeps only a random session name.</p></section>";
    frame("Drape · sign in", "", &format!("{fault}{form}"))
}

/// The officer's overview.
pub fn render(page: &Page) -> String {
    let mut main = String::new();
    page.integrity.iter().for_each(|state| integrity(&mut main, state));
    emergencies(&mut main, &page.emergencies);
    main.push_str("<div class=\"pair\">");
    counts(&mut main, "Accesses by purpose", "Purpose", &page.purposes, "No access has been entered yet.");
    counts(&mut main, "Refusals by reason", "Reason", &page.refusals, "Nothing has been refused yet.");
    budgets(&mut main, &page.budgets);
    main.push_str("</div>");
    rows(&mut main, page);
    policies(&mut main, page);
    frame("Drape · privacy officer", &page.officer, &main)
}

fn integrity(main: &mut String, state: &Integrity) {
    let (class, title) =
        if state.sound { ("good", "The log verifies") } else { ("bad", "The log does not verify") };
    let _ = write!(
        main,
        "<section class=\"banner {class}\" role=\"status\"><h2>{title}</h2><p>{}</p>",
        escape(&state.summary)
    );
    if !state.faults.is_empty() {
        main.push_str("<ul>");
        for fault in &state.faults {
            let _ = write!(main, "<li>{}</li>", escape(fault));
        }
        main.push_str("</ul>");
    }
    let _ = write!(
        main,
        "<p class=\"dim\">{} entries · root <code>{}</code> · checked {}</p></section>",
        state.size,
        escape(&state.root),
        escape(&state.checked)
    );
}

fn policies(main: &mut String, page: &Page) {
    for row in &page.policies {
        let _ = write!(
            main,
            "<section><h2>Policies of {}</h2><dl><dt>In force</dt><dd><code>{}</code></dd><dt>Since</dt><dd>{}</dd>\
             <dt>Source</dt><dd>{}</dd></dl>",
            escape(&row.tenant),
            escape(&row.digest),
            escape(&row.since),
            escape(&row.source.replace('`', ""))
        );
        approvals(main, row.required, &row.approvals);
        sheet_link(main, row, &row.digest, "the sheet of the policies in force");
        if let Some(sheet) = &row.sheet {
            approve_form(main, row, &row.digest, sheet);
        }
        if let Some(candidate) = &row.candidate {
            self::candidate(main, row, candidate);
        }
        if let Some(view) = &row.shadow {
            shadow::render(main, view);
        }
        main.push_str("</section>");
    }
    if !page.restart.is_empty() {
        main.push_str("<section class=\"banner\" role=\"status\"><h2>A restart is needed</h2><p>These keys of the configuration were changed and are read at the start alone:</p><ul>");
        for key in &page.restart {
            let _ = write!(main, "<li><code>{}</code></li>", escape(key));
        }
        main.push_str("</ul></section>");
    }
}

fn candidate(main: &mut String, row: &PolicyRow, candidate: &CandidateRow) {
    let (class, title) = match candidate.waits {
        true => ("wait", "Candidate waiting for approval"),
        false => ("bad", "Candidate refused"),
    };
    let _ = write!(main, "<div class=\"banner {class}\" role=\"status\"><h3>{title}</h3>");
    if let Some(digest) = &candidate.digest {
        let _ = write!(main, "<p><code>{}</code></p>", escape(digest));
    }
    let _ =
        write!(main, "<p>Found {}. What is in force goes on as before.</p><ul>", escape(&candidate.found));
    for fault in &candidate.faults {
        let _ = write!(main, "<li>{}</li>", escape(fault));
    }
    main.push_str("</ul>");
    if let (true, Some(digest)) = (candidate.waits, &candidate.digest) {
        approvals(main, row.required, &candidate.approvals);
        sheet_link(main, row, digest, "the sheet of this candidate");
        if let Some(sheet) = &candidate.sheet {
            approve_form(main, row, digest, sheet);
        }
    }
    main.push_str("</div>");
}

fn approvals(main: &mut String, required: u64, approvals: &[String]) {
    if required == 0 && approvals.is_empty() {
        return;
    }
    let _ = write!(main, "<p>Approved by {} of {required} officers needed.</p>", approvals.len());
    if !approvals.is_empty() {
        main.push_str("<ul>");
        for approval in approvals {
            let _ = write!(main, "<li>{}</li>", escape(approval));
        }
        main.push_str("</ul>");
    }
}

fn sheet_link(main: &mut String, row: &PolicyRow, digest: &str, of: &str) {
    let _ = write!(
        main,
        "<p><a href=\"/officer/sheet?tenant={}&amp;digest={}\">Who is shown what: {of}</a></p>",
        escape(&row.tenant),
        escape(digest)
    );
}

fn approve_form(main: &mut String, row: &PolicyRow, digest: &str, sheet: &str) {
    let Some(key) = &row.form_key else { return };
    let _ = write!(
        main,
        "<form method=\"post\" action=\"/officer/approve\"><p>I have read the sheet with the SHA-256 <code>{1}</code>.</p>\
         <input type=\"hidden\" name=\"tenant\" value=\"{0}\"><input type=\"hidden\" name=\"digest\" value=\"{2}\">\
         <input type=\"hidden\" name=\"sheet\" value=\"{1}\"><input type=\"hidden\" name=\"key\" value=\"{3}\">\
         <button type=\"submit\">Approve</button></form>",
        escape(&row.tenant),
        escape(sheet),
        escape(digest),
        escape(key)
    );
}

fn counts(main: &mut String, title: &str, head: &str, counts: &[(String, u64)], none: &str) {
    let _ = write!(main, "<section><h2>{title}</h2>");
    if counts.is_empty() {
        let _ = write!(main, "<p class=\"dim\">{none}</p></section>");
        return;
    }
    let most = counts.iter().map(|c| c.1).max().unwrap_or(1).max(1);
    let _ = write!(
        main,
        "<table><thead><tr><th>{head}</th><th class=\"n\">Count</th><th aria-hidden=\"true\"></th></tr></thead><tbody>"
    );
    for (name, count) in counts {
        #[allow(clippy::cast_precision_loss, reason = "a bar of some pixels")]
        let share = *count as f64 * 100.0 / most as f64;
        let _ = write!(
            main,
            "<tr><td>{}</td><td class=\"n\">{count}</td><td aria-hidden=\"true\" width=\"40%\">{}</td></tr>",
            escape(name),
            bar(share)
        );
    }
    main.push_str("</tbody></table></section>");
}

/// A bar of so many percent. The number stands beside it in the table, so it is hidden from screen readers.
fn bar(percent: f64) -> String {
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" focusable=\"false\">\
         <rect width=\"{percent:.0}\" height=\"10\"/></svg>"
    )
}

fn budgets(main: &mut String, budgets: &[BudgetRow]) {
    main.push_str("<section><h2>Privacy budgets</h2>");
    if budgets.is_empty() {
        main.push_str("<p class=\"dim\">No budget is configured; no noisy answers are given.</p></section>");
        return;
    }
    main.push_str(
        "<table><thead><tr><th>Budget</th><th class=\"n\">ε spent</th><th class=\"n\">ε in all</th>\
         <th aria-hidden=\"true\"></th></tr></thead><tbody>",
    );
    for b in budgets {
        let share = if b.total > 0.0 { (b.spent / b.total * 100.0).clamp(0.0, 100.0) } else { 100.0 };
        let _ = write!(
            main,
            "<tr><td>{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td aria-hidden=\"true\" width=\"40%\">\
             {}</td></tr>",
            escape(&b.name),
            b.spent,
            b.total,
            bar(share)
        );
    }
    main.push_str("</tbody></table></section>");
}

/// What was done in emergencies, with the reasons in the callers' own words. Nothing stands there where nothing was.
fn emergencies(main: &mut String, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        main,
        "<section><h2>Emergency access to be reviewed ({})</h2><div class=\"scroll\" tabindex=\"0\" role=\"region\" \
         aria-label=\"Emergency access\"><table><thead><tr><th class=\"n\">Entry</th><th>Time</th><th>Who</th>\
         <th>Purpose</th><th class=\"w\">Reason</th><th class=\"w\">What</th><th>Patients</th><th class=\"w\">Outcome</th>\
         </tr></thead><tbody>",
        rows.len()
    );
    for row in rows {
        let _ = write!(
            main,
            "<tr><td class=\"n\">{}</td><td class=\"t\">{}</td><td>{}</td><td>{}</td><td class=\"w\">{}</td>\
             <td class=\"w\">{}</td><td>{}</td><td class=\"w\">{}</td></tr>",
            row.index,
            escape(&row.time),
            escape(&row.who),
            escape(&row.purpose),
            escape(row.emergency.as_deref().unwrap_or_default()),
            escape(&row.what),
            escape(&row.patients),
            escape(&row.outcome)
        );
    }
    main.push_str("</tbody></table></div></section>");
}

fn rows(main: &mut String, page: &Page) {
    let asked = page.patient.as_deref().unwrap_or_default();
    let title = match &page.patient {
        Some(patient) => format!("Who saw {}", escape(patient)),
        None => "Newest entries".to_owned(),
    };
    let _ = write!(
        main,
        "<section><h2>{title}</h2><form class=\"row\" method=\"get\" action=\"/officer\"><label for=\"patient\">Who saw this patient? \
         (<code>Patient/id</code>)</label><input id=\"patient\" name=\"patient\" value=\"{}\" pattern=\"Patient/.+\">\
         <button type=\"submit\">Search</button></form>",
        escape(asked)
    );
    if page.rows.is_empty() {
        main.push_str("<p class=\"dim\">No entry.</p></section>");
        return;
    }
    main.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Log entries\"><table><thead><tr>\
         <th class=\"n\">Entry</th><th>Time</th><th>Who</th><th>Acting as</th><th>Purpose</th><th class=\"w\">What</th>\
         <th>Patients</th><th class=\"w\">Policies</th><th class=\"w\">Outcome</th></tr></thead><tbody>",
    );
    for row in &page.rows {
        let class = if row.refused { " class=\"no\"" } else { "" };
        let _ = write!(
            main,
            "<tr{class}><td class=\"n\">{}</td><td class=\"t\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"w\">{}</td>\
             <td>{}</td><td class=\"w\">{}</td><td class=\"w\">{}</td></tr>",
            row.index,
            escape(&row.time),
            escape(&row.who),
            escape(&row.roles),
            escape(&row.purpose),
            escape(&row.what),
            escape(&row.patients),
            determining(row),
            escape(&row.outcome)
        );
    }
    main.push_str("</tbody></table></div></section>");
}

/// The policies of a row; what each of them determined unfolds.
fn determining(row: &Row) -> String {
    if row.determined.is_empty() && row.decision.is_empty() {
        return escape(&row.policies);
    }
    let named = if row.policies.is_empty() { "why" } else { row.policies.as_str() };
    let mut out = format!("<details><summary>{}</summary><ul>", escape(named));
    for line in &row.determined {
        let _ = write!(out, "<li>{}</li>", escape(line));
    }
    let _ = write!(out, "<li>decision <code>{}</code></li></ul></details>", escape(&row.decision));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_caller_chose_can_become_markup() {
        let bad = "<script>alert(1)</script>".to_owned();
        let (determined, decision) = (vec![bad.clone()], bad.clone());
        let row = Row {
            who: bad,
            what: "\"'&".into(),
            determined,
            decision,
            emergency: Some("<script>".into()),
            ..Row::default()
        };
        let html = render(&Page {
            emergencies: vec![row.clone()],
            rows: vec![row],
            patient: Some("Patient/\"><b>".into()),
            ..Page::default()
        });
        assert!(!html.contains("<script>"));
        assert!(!html.contains("\"><b>"));
        assert!(html.contains("&lt;script&gt;"));
    }

    #[test]
    fn a_broken_log_is_said_first_and_plainly() {
        let faults = vec!["entry 17 was changed".into()];
        let integrity = vec![Integrity { sound: false, faults, ..Integrity::default() }];
        let html = render(&Page { integrity, ..Page::default() });
        assert!(html.contains("The log does not verify"));
        assert!(html.contains("entry 17 was changed"));
    }
}
