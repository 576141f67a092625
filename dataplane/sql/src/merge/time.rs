//! Dates and timestamps as instants, from PostgreSQL's text in DateStyle ISO.

/// Microseconds since 1970, or the extremes for the infinities. With a zone offset, of the instant in UTC.
/// `None`: not ISO (another DateStyle), so its order cannot be told.
pub(super) fn instant(text: &[u8]) -> Option<i128> {
    match text {
        b"infinity" => return Some(i128::MAX),
        b"-infinity" => return Some(i128::MIN),
        _ => {}
    }
    let (text, bc) = text.strip_suffix(b" BC").map_or((text, false), |rest| (rest, true));
    let mut parts = text.splitn(2, |byte| *byte == b' ');
    let first = parts.next()?;
    let day_micros = 86_400_000_000;
    if first.get(2) == Some(&b':') {
        return time(first).filter(|_| !bc);
    }
    let date = date(first, bc)?.checked_mul(day_micros)?;
    parts.next().map_or(Some(date), |rest| Some(date + time(rest)?))
}

/// Days since 1970 of YYYY-MM-DD in the proleptic Gregorian calendar; BC years count from 1.
fn date(text: &[u8], bc: bool) -> Option<i128> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() || text.iter().position(|byte| *byte == b'-')? < 4 || !(1..=12).contains(&month) {
        return None;
    }
    let year = if bc { 1 - year } else { year };
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Microseconds of `HH:MM:SS[.ffffff][+HH[:MM[:SS]]]`, minus the zone offset.
fn time(text: &[u8]) -> Option<i128> {
    let sign = text.iter().position(|byte| matches!(byte, b'+' | b'-'));
    let (clock, zone) = sign.map_or((text, None), |at| (&text[..at], Some(&text[at..])));
    let point = clock.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = point.map_or((clock, &b""[..]), |at| (&clock[..at], &clock[at + 1..]));
    if fraction.len() > 6 {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + i128::from(fraction.get(place).map_or(Some(0), |digit| digit.is_ascii_digit().then(|| digit - b'0'))?);
    }
    let offset = match zone {
        None => 0,
        Some(zone) => clock_seconds(&zone[1..], 1)? * if zone[0] == b'-' { -1 } else { 1 },
    };
    Some((clock_seconds(whole, 3)? - offset) * 1_000_000 + micros)
}

fn clock_seconds(text: &[u8], at_least: usize) -> Option<i128> {
    let parts: Vec<i128> = text.split(|byte| *byte == b':').map(number).collect::<Option<_>>()?;
    if parts.len() < at_least || parts.len() > 3 {
        return None;
    }
    Some(parts.iter().zip([3600, 60, 1]).map(|(part, unit)| part * unit).sum())
}

fn number(text: &[u8]) -> Option<i128> {
    /// PostgreSQL's years have at most six digits.
    const MAX_DIGITS: usize = 6;
    if text.is_empty() || text.len() > MAX_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn texts_are_ordered_as_instants() {
        let ordered = [
            "-infinity",
            "4713-01-01 00:00:00 BC",
            "0001-12-31 00:00:00 BC",
            "0001-01-01",
            "1969-12-31 23:59:59.999999",
            "1970-01-01",
            "2026-11-24 02:00:00+02",
            "2026-11-24 00:30:00+00",
            "2026-11-24 00:30:00.5+00",
            "2026-11-23 20:00:01-05:30",
            "294276-12-31",
            "infinity",
        ];
        let instants: Vec<i128> = ordered.iter().map(|text| instant(text.as_bytes()).unwrap()).collect();
        assert!(instants.windows(2).all(|pair| pair[0] < pair[1]), "{instants:?}");
        assert_eq!(instant(b"1970-01-02"), Some(86_400_000_000));
        assert_eq!(instant(b"2000-03-01"), Some(11_017 * 86_400_000_000));
        assert_eq!(instant(b"00:00:01.5"), Some(1_500_000));
    }

    #[test]
    fn other_date_styles_are_not_guessed() {
        for text in ["24/11/2026", "Tue Nov 24 03:00:00 2026", "11-24-2026", "2026-13-01", "", "2026-11-24 03:00 CET"] {
            assert_eq!(instant(text.as_bytes()), None, "{text}");
        }
    }
}
