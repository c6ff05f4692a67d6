//! What a standing is asked in the course of a request, told to whoever listens, and asked again of another set.

use drape_view::{Category, CategorySet, Profile, Verdict};

use crate::decide::{Action, Ruling, Standing};

/// Hears what one request asks of policy. What it is told it must take at once: it stands in the way of a request.
pub trait Listener: std::fmt::Debug + Send + Sync {
    /// A question was answered, by these policies.
    fn ruled(&self, question: Inquiry, answer: &'static str, policies: &[String]);

    /// A record was judged.
    fn judged(&self, profile: &Profile, verdict: &Verdict);

    /// Nothing of what was heard so far counts: it is all asked again when more is known.
    fn forget(&self);
}

/// One question that is not about what of a record is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Inquiry {
    /// May such a request be made of that type?
    Request { action: Action, resource_type: String },
    /// May the category be searched by?
    SearchBy { category: Category, resource_type: String },
    /// May the category be counted by?
    CountBy { category: Category },
    /// May the budget be charged with so much?
    Aggregate { budget: String, organization: String, epsilon_nano: u64, resource_type: String },
    /// May the category of such a record be changed?
    Change { profile: Profile, category: Category },
    /// May it where access rests on it?
    Relate { profile: Profile, category: Category },
}

/// The words for yes and no; criteria have words of their own.
pub(crate) const fn word(allowed: bool) -> &'static str {
    if allowed { "permitted" } else { "refused" }
}

impl Standing {
    /// Whose it is.
    pub fn caller(&self) -> &std::sync::Arc<drape_view::Caller> {
        &self.caller
    }

    /// The same with somebody who listens.
    #[must_use]
    pub fn heard_by(mut self, listener: std::sync::Arc<dyn Listener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// What was heard so far does not count.
    pub fn forget(&self) {
        if let Some(listener) = &self.listener {
            listener.forget();
        }
    }

    /// The answer to a question in one word, and the policies that say so. Nobody is told that it was asked.
    pub fn answer(&self, question: &Inquiry) -> (&'static str, Vec<String>) {
        let Ruling { allowed, policies, .. } = match question {
            Inquiry::Request { action, resource_type } => self.request_unheard(*action, resource_type),
            Inquiry::SearchBy { category, resource_type } => {
                let answer = self.search_by_unheard(*category, resource_type);
                return (answer.name(), self.searched(*category).policies);
            }
            Inquiry::CountBy { category } => self.count_by_unheard(*category),
            Inquiry::Aggregate { budget, organization, epsilon_nano, resource_type } => {
                self.aggregate_unheard(budget, organization, *epsilon_nano, resource_type)
            }
            Inquiry::Change { profile, category } => self.about_one("change", profile, *category),
            Inquiry::Relate { profile, category } => self.about_one("relate", profile, *category),
        };
        (word(allowed), policies)
    }

    pub(crate) fn tell(&self, question: impl FnOnce() -> Inquiry, answer: &'static str, policies: &[String]) {
        if let Some(listener) = &self.listener {
            listener.ruled(question(), answer, policies);
        }
    }

    pub(crate) fn told(&self, question: impl FnOnce() -> Inquiry, ruling: Ruling) -> Ruling {
        self.tell(question, word(ruling.allowed), &ruling.policies);
        ruling
    }

    /// Whether the caller may change elements of all these categories in records of that profile.
    pub fn may_change(&self, profile: &Profile, categories: CategorySet) -> Ruling {
        self.about(categories, |category| {
            let inquiry = || Inquiry::Change { profile: profile.clone(), category };
            self.told(inquiry, self.about_one("change", profile, category))
        })
    }

    /// Whether the caller may write what policies, labels or relations themselves read, as far as it belongs to these
    /// categories.
    pub fn may_relate(&self, profile: &Profile, categories: CategorySet) -> Ruling {
        self.about(categories, |category| {
            let inquiry = || Inquiry::Relate { profile: profile.clone(), category };
            self.told(inquiry, self.about_one("relate", profile, category))
        })
    }
}

/// The words for answers, from the freest to none.
const FREEST_FIRST: [&str; 6] =
    ["permitted", "open", "open where it is shown", "by pseudonym", "among related patients", "refused"];

/// Whether the second answer lets less through than the first.
pub(crate) fn is_less(from: &str, to: &str) -> bool {
    let place = |answer: &str| FREEST_FIRST.iter().position(|a| *a == answer);
    place(from) < place(to)
}
