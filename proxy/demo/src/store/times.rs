//! FHIR dates as spans of time: `2024-05` is the whole of May.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// From the first millisecond to the one after the last; ends that are not known are the ends of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Span {
    /// The span of a date, dateTime or instant, in whatever precision. Without an offset it is taken as UTC.
    pub(super) fn parse(text: &str) -> Option<Span> {
        let (day, clock) = match text.split_once('T') {
            Some((day, clock)) => (day, Some(clock)),
            None => (text, None),
        };
        if !day.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return None;
        }
        let (first, next) = match day.len() {
            4 => {
                let first: Date = format!("{day}-01-01").parse().ok()?;
                (first, first.checked_add(1.year()).ok()?)
            }
            7 => {
                let first: Date = format!("{day}-01").parse().ok()?;
                (first, first.checked_add(1.month()).ok()?)
            }
            10 => {
                let first: Date = day.parse().ok()?;
                (first, first.checked_add(1.day()).ok()?)
            }
            _ => return None,
        };
        match clock {
            None => Some(Span { from: midnight(first)?, to: midnight(next)? }),
            Some(clock) if day.len() == 10 => Self::clock(midnight(first)?, clock),
            Some(_) => None,
        }
    }

    /// A Period; a missing end is open.
    pub(super) fn period(start: Option<&str>, end: Option<&str>) -> Option<Span> {
        if start.is_none() && end.is_none() {
            return None;
        }
        let from = start.map_or(Some(i64::MIN), |s| Span::parse(s).map(|s| s.from))?;
        let to = end.map_or(Some(i64::MAX), |e| Span::parse(e).map(|e| e.to))?;
        Some(Span { from, to })
    }

    /// `hh:mm[:ss[.fff…]]` and `Z` or an offset.
    fn clock(midnight: i64, text: &str) -> Option<Span> {
        let (clock, offset) = match text.find(['Z', '+', '-']) {
            Some(at) => (&text[..at], &text[at..]),
            None => (text, "Z"),
        };
        let number = |s: &str, most: i64| {
            let n: i64 = s.parse().ok().filter(|_| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit()))?;
            (n <= most).then_some(n)
        };
        let offset = match offset.as_bytes().first()? {
            b'Z' if offset.len() == 1 => 0,
            sign @ (b'+' | b'-') => {
                let (hours, minutes) = offset[1..].split_once(':')?;
                let minutes = number(hours, 14)? * 60 + number(minutes, 59)?;
                if *sign == b'-' { -minutes } else { minutes }
            }
            _ => return None,
        };
        let mut parts = clock.split(':');
        let hour = number(parts.next()?, 23)?;
        let minute = number(parts.next()?, 59)?;
        let (millis, length) = match parts.next() {
            None => (0, 60_000),
            Some(seconds) => {
                let (whole, fraction) =
                    seconds.split_once('.').map_or((seconds, None), |(w, f)| (w, Some(f)));
                let whole = number(whole, 60)? * 1000;
                match fraction {
                    None => (whole, 1000),
                    Some(f) if !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()) => {
                        let digits: String = f.chars().chain("000".chars()).take(3).collect();
                        (whole + digits.parse::<i64>().ok()?, 1)
                    }
                    Some(_) => return None,
                }
            }
        };
        if parts.next().is_some() {
            return None;
        }
        let from = midnight + ((hour * 60 + minute - offset) * 60_000) + millis;
        Some(Span { from, to: from + length })
    }
}

/// `Last-Modified` (RFC 9110 section 5.6.7) of milliseconds since the epoch.
pub(super) fn http_date(millis: i64) -> String {
    Timestamp::from_millisecond(millis)
        .map(|t| t.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}

/// An instant, to the millisecond.
pub(super) fn instant(now: Timestamp) -> String {
    format!("{}+00:00", now.strftime("%Y-%m-%dT%H:%M:%S%.3f"))
}

fn midnight(date: Date) -> Option<i64> {
    let zone = TimeZone::fixed(Offset::UTC);
    date.to_zoned(zone).ok().map(|z| z.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_spans_all_it_does_not_say() {
        let day = 86_400_000;
        assert_eq!(Span::parse("1970-01-02"), Some(Span { from: day, to: 2 * day }));
        assert_eq!(Span::parse("1970-01"), Some(Span { from: 0, to: 31 * day }));
        assert_eq!(Span::parse("1972"), Some(Span { from: 730 * day, to: 1096 * day }));
        assert_eq!(Span::parse("1970-01-01T00:01"), Some(Span { from: 60_000, to: 120_000 }));
        assert_eq!(Span::parse("1970-01-01T01:00:00+01:00"), Some(Span { from: 0, to: 1000 }));
        assert_eq!(Span::parse("1970-01-01T00:00:00.0425Z"), Some(Span { from: 42, to: 43 }));
        for wrong in [
            "",
            "19",
            "1970-13",
            "1970-02-30",
            "1970-01T00:00",
            "1970-01-01T25:00",
            "+970-01-01",
            "1970-01-01T00:00:00Zx",
        ] {
            assert_eq!(Span::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn instants_and_http_dates_have_their_form() {
        let now: Timestamp = "2026-11-24T09:05:03.1Z".parse().unwrap();
        assert_eq!(instant(now), "2026-11-24T09:05:03.100+00:00");
        assert_eq!(http_date(now.as_millisecond()), "Tue, 24 Nov 2026 09:05:03 GMT");
    }
}
