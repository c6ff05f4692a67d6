//! Instants as FHIR writes them, and the month that an event key is derived for.

/// A FHIR `instant` in UTC with milliseconds, such as `2026-03-05T12:34:56.789Z`.
pub(crate) fn instant(time_ms: u64) -> String {
    let (year, month, day) = civil(time_ms);
    let ms = time_ms % 86_400_000;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

/// The month of an instant, `YYYY-MM`, in UTC.
pub(crate) fn period(time_ms: u64) -> String {
    let (year, month, _) = civil(time_ms);
    format!("{year:04}-{month:02}")
}

/// Reads back exactly what [`instant`] writes.
pub(crate) fn parse_instant(text: &str) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| -> Option<u64> {
        let part = text.get(range)?;
        if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
    };
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second, ms) = (digits(11..13)?, digits(14..16)?, digits(17..19)?, digits(20..23)?);
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(1 + 719_468)?;
    let time_ms = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + ms;
    // Reading must be the exact inverse of writing: 31 February or a stray character is no instant of ours.
    (instant(time_ms) == text).then_some(time_ms)
}

/// Days since the epoch to a proleptic Gregorian date; years are counted from March, so that the leap day is last.
fn civil(time_ms: u64) -> (u64, u64, u64) {
    let days = time_ms / 86_400_000 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_fhir_wants_them_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_772_714_096_789, "2026-03-05T12:34:56.789Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(instant(ms), text);
            assert_eq!(parse_instant(text), Some(ms));
        }
        assert_eq!(parse_instant("2026-02-31T00:00:00.000Z"), None);
        assert_eq!(parse_instant("2026-02-21 00:00:00.000Z"), None);
        assert_eq!(period(1_772_714_096_789), "2026-03");
    }
}
