//! The part of the officer page about shadow policies: what they would have decided otherwise.

use std::fmt::Write as _;

use super::page::escape;
use crate::watch::ShadowView;

/// Differences shown on the page; all of them are in `/officer/shadow`.
const SHOWN_MAX: usize = 30;

/// Writes it below the tenant's policies.
pub(super) fn render(main: &mut String, shadow: &ShadowView) {
    let _ = write!(
        main,
        "<h3>In the shadow</h3><p>{}, <code>{}</code>, was asked of {} requests. Nothing is released or withheld by it.</p>",
        escape(&shadow.source),
        escape(&shadow.digest),
        shadow.compared
    );
    if shadow.differences.is_empty() {
        main.push_str("<p class=\"dim\">It would have decided nothing otherwise.</p>");
        return;
    }
    main.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Who</th><th>What</th><th>Of</th><th>In force</th>\
         <th>In the shadow</th><th class=\"n\">Times</th></tr></thead><tbody>",
    );
    for line in shadow.differences.iter().take(SHOWN_MAX) {
        let with = |text: &str, policies: &[String]| match policies {
            [] => escape(text),
            policies => {
                format!("{} <span class=\"dim\">by {}</span>", escape(text), escape(&policies.join(", ")))
            }
        };
        let of = &line.difference;
        let _ = write!(
            main,
            "<tr><td>{}</td><td>{}: {}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
            escape(&line.who.join(", ")),
            of.kind.name(),
            escape(&line.what.join(", ")),
            escape(&of.types.join(", ")),
            with(&of.from, &of.old_policies),
            with(&of.to, &of.new_policies),
            line.count.unwrap_or_default()
        );
    }
    main.push_str("</tbody></table></div>");
}
