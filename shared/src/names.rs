//! Near misses: the name that a person may have meant.

/// The candidates most like the word, best first, at most three.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(f64, &str)> = candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|&(likeness, _)| likeness > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.into_iter().map(|(_, candidate)| candidate).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_slip_of_a_finger() {
        let keys = ["heartbeat_deadline", "busy_cap", "lease_max"];
        assert_eq!(nearest("hartbeat_deadline", keys.into_iter()), ["heartbeat_deadline"]);
        assert_eq!(nearest("zzz", keys.into_iter()), Vec::<&str>::new());
    }
}
