//! Areas of three digits of the postal code in which too few people live to be named (45 CFR 164.514(b)(2)(i)(B)).

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::fault::Fault;
use crate::profiler::Date;
use crate::shipped;

/// `small-areas.yaml`, read.
#[derive(Clone, Debug)]
pub struct SmallAreas {
    census: u32,
    areas: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    census: u32,
    reviewed: String,
    areas: Vec<String>,
    #[serde(default)]
    later: Vec<String>,
}

impl SmallAreas {
    /// The shipped list. Were it not sound, which a test holds it to, every area would count as small.
    pub fn shipped() -> Option<&'static Self> {
        static SHIPPED: OnceLock<Option<SmallAreas>> = OnceLock::new();
        SHIPPED.get_or_init(|| Self::parse(shipped::SMALL_AREAS).ok()).as_ref()
    }

    /// Reads the file.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        const NAME: &str = "small-areas.yaml";
        let file: File = serde_saphyr::from_str(yaml)
            .map_err(|e| vec![Fault::new(NAME, format!("cannot be read: {e}"))])?;
        let mut faults = Vec::new();
        if file.version != 1 {
            let what = format!("`{}` is not known", file.version);
            faults.push(Fault::new(format!("{NAME} version"), what).help("write 1"));
        }
        if Date::parse(&file.reviewed).is_none() || file.reviewed.len() != 10 {
            let what = format!("`{}` is no date", file.reviewed);
            let help = "say when the list was last held against the census, `2026-11-25`";
            faults.push(Fault::new(format!("{NAME} reviewed"), what).help(help));
        }
        if file.areas.is_empty() {
            faults.push(Fault::new(format!("{NAME} areas"), "names no area"));
        }
        let mut areas = BTreeSet::new();
        for area in file.areas.into_iter().chain(file.later) {
            if area.len() != 3 || !area.bytes().all(|b| b.is_ascii_digit()) {
                let help = "write three digits in quotes";
                faults.push(Fault::new(NAME, format!("`{area}` is no area of three digits")).help(help));
            } else if !areas.insert(area.clone()) {
                faults.push(Fault::new(NAME, format!("`{area}` is listed twice")));
            }
        }
        if faults.is_empty() { Ok(Self { census: file.census, areas }) } else { Err(faults) }
    }

    /// Whether too few people live in an area of three digits.
    pub fn contains(&self, area: &str) -> bool {
        self.areas.contains(area)
    }

    /// The census that the list is of.
    pub fn census(&self) -> u32 {
        self.census
    }
}

/// Three digits of a US postal code, `000` where too few people share them; none of what is no such code.
pub fn zip3(postal_code: &str) -> Option<&str> {
    let bytes = postal_code.as_bytes();
    let five = bytes.len() >= 5 && bytes[..5].iter().all(u8::is_ascii_digit);
    let plus4 = bytes.len() == 5
        || bytes.len() == 10 && bytes[5] == b'-' && bytes[6..].iter().all(u8::is_ascii_digit);
    if !five || !plus4 {
        return None;
    }
    let area = postal_code.get(..3)?;
    let small = SmallAreas::shipped().is_none_or(|list| list.contains(area));
    Some(if small { "000" } else { area })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_list_is_sound_and_dated() {
        let list = SmallAreas::parse(shipped::SMALL_AREAS).unwrap();
        assert!(list.census() >= 2000 && list.areas.len() >= 17);
        assert!(list.contains("036") && list.contains("893") && !list.contains("021"));
    }

    #[test]
    fn a_list_that_would_let_an_area_through_is_a_fault() {
        for (from, to, says) in [
            ("\"036\"", "036x", "`036x` is no area"),
            ("\"036\"", "\"059\"", "`059` is listed twice"),
            ("2026-11-25", "2026", "`2026` is no date"),
            ("version: 1", "version: 2", "`2` is not known"),
            ("census:", "sensus:", "cannot be read"),
        ] {
            let faults = SmallAreas::parse(&shipped::SMALL_AREAS.replacen(from, to, 1)).unwrap_err();
            assert!(faults.iter().any(|f| f.to_string().contains(says)), "{says} not in {faults:?}");
        }
    }

    #[test]
    fn postal_codes_keep_three_digits_and_small_areas_none() {
        assert_eq!(zip3("02139"), Some("021"));
        assert_eq!(zip3("02139-4307"), Some("021"));
        assert_eq!(zip3("03601"), Some("000"));
        for other in ["SW1A 1AA", "1234", "021", "0213x", "02139-43", "", "ä2139"] {
            assert_eq!(zip3(other), None, "{other}");
        }
    }
}
