//! Every bound is kept exactly: at it a document passes, one beyond it is refused at the first byte too many.

use super::*;

fn fault(text: &[u8], limits: Limits) -> Option<JsonError> {
    let whole = read(text, limits);
    for size in [1, 3, 64] {
        assert_eq!(read_pieces(text.chunks(size), limits), whole, "pieces of {size}");
    }
    whole.1
}

fn at(what: What, at: usize) -> Option<JsonError> {
    Some(JsonError { what, at: at as u64 })
}

#[test]
fn depth_is_counted_over_arrays_and_objects_alike() {
    for depth_max in [0, 1, 2, 64] {
        let limits = Limits { depth_max, ..Limits::default() };
        let arrays = |n: usize| "[".repeat(n) + &"]".repeat(n);
        let objects = |n: usize| "{\"a\":".repeat(n) + "1" + &"}".repeat(n);
        if depth_max > 0 {
            assert_eq!(fault(arrays(depth_max).as_bytes(), limits), None);
            assert_eq!(fault(objects(depth_max).as_bytes(), limits), None);
        }
        let deep = arrays(depth_max + 1);
        assert_eq!(fault(deep.as_bytes(), limits), at(What::Depth(depth_max), depth_max));
        let deep = objects(depth_max + 1);
        assert_eq!(fault(deep.as_bytes(), limits), at(What::Depth(depth_max), depth_max * 5));
    }
    // What is closed counts no more.
    let limits = Limits { depth_max: 2, ..Limits::default() };
    assert_eq!(fault(b"[[],[],[{}]]", limits), at(What::Depth(2), 8));
    assert_eq!(fault(b"[[],[],{},[1]]", limits), None);
}

#[test]
fn members_are_counted_for_each_object_by_itself() {
    for members_max in [0, 1, 31, 32, 33, 100] {
        let limits = Limits { members_max, ..Limits::default() };
        let object =
            |n: usize| format!("{{{}}}", (0..n).map(|k| format!("\"{k}\":0")).collect::<Vec<_>>().join(","));
        assert_eq!(fault(object(members_max).as_bytes(), limits), None);
        let wide = object(members_max + 1);
        let last = wide.rfind(&format!("\"{members_max}\"")).unwrap();
        assert_eq!(fault(wide.as_bytes(), limits), at(What::Members(members_max), last));
        let side_by_side = format!("[{0},{0},{0}]", object(members_max));
        assert_eq!(fault(side_by_side.as_bytes(), limits), None);
        if members_max > 0 {
            let nested = object(members_max).replacen('0', &object(members_max), 2);
            let nested = if members_max == 1 { "{\"a\":{\"a\":{\"a\":0}}}".to_owned() } else { nested };
            let found = fault(nested.as_bytes(), limits);
            assert!(found.is_none_or(|f| !matches!(f.what, What::Members(_))), "{nested}");
        }
    }
}

#[test]
fn a_repeated_member_is_found_among_few_and_among_many() {
    for count in [1, 2, 31, 32, 33, 34, 500, 4_095] {
        for twice in [0, count / 2, count - 1] {
            let mut keys: Vec<String> = (0..count).map(|n| format!("\"key{n}\":{n}")).collect();
            keys.push(format!("\"\\u006bey{twice}\":0"));
            let text = format!("{{{}}}", keys.join(","));
            let place = text.rfind("\"\\u").unwrap();
            assert_eq!(
                read(text.as_bytes(), Limits::default()).1,
                at(What::DuplicateKey, place),
                "{count}, {twice}"
            );
        }
    }
}

#[test]
fn one_member_too_many_is_refused_even_where_it_is_a_repetition() {
    let limits = Limits { members_max: 2, ..Limits::default() };
    assert_eq!(fault(br#"{"a":0,"b":0,"a":0}"#, limits), at(What::Members(2), 13));
}

#[test]
fn keys_are_measured_unescaped_and_in_bytes() {
    for key_bytes_max in [0, 1, 4, 9, 1_024] {
        let limits = Limits { key_bytes_max, ..Limits::default() };
        let object = |key: &str| format!("{{\"{key}\":0}}");
        assert_eq!(fault(object(&"k".repeat(key_bytes_max)).as_bytes(), limits), None);
        let long = object(&"k".repeat(key_bytes_max + 1));
        assert_eq!(fault(long.as_bytes(), limits), at(What::KeyLength(key_bytes_max), 2 + key_bytes_max));
        // An escape of six bytes stands for one byte.
        assert_eq!(fault(object(&"\\u006b".repeat(key_bytes_max)).as_bytes(), limits), None);
        let long = object(&"\\u006b".repeat(key_bytes_max + 1));
        assert_eq!(
            fault(long.as_bytes(), limits),
            at(What::KeyLength(key_bytes_max), 2 + key_bytes_max * 6 + 5)
        );
        // A character of four bytes counts as four.
        let (full, rest) = (key_bytes_max / 4, key_bytes_max % 4);
        let fits = "😀".repeat(full) + &"k".repeat(rest);
        assert_eq!(fault(object(&fits).as_bytes(), limits), None);
        let fits = "\\ud83d\\ude00".repeat(full) + &"k".repeat(rest);
        assert_eq!(fault(object(&fits).as_bytes(), limits), None);
        let long = "\\ud83d\\ude00".repeat(full + 1);
        let place = 2 + full * 12 + 11;
        assert_eq!(fault(object(&long).as_bytes(), limits), at(What::KeyLength(key_bytes_max), place));
    }
}

#[test]
fn the_key_bound_is_for_keys_and_the_string_bound_for_values() {
    let limits = Limits { key_bytes_max: 2, string_bytes_max: 4, ..Limits::default() };
    assert_eq!(fault(br#"{"ab":"abcd"}"#, limits), None);
    assert_eq!(fault(br#"{"abc":"abcd"}"#, limits), at(What::KeyLength(2), 4));
    assert_eq!(fault(br#"{"ab":"abcde"}"#, limits), at(What::StringLength(4), 11));
}

#[test]
fn strings_are_measured_as_they_stand() {
    for string_bytes_max in [0, 1, 6, 7, 64] {
        let limits = Limits { string_bytes_max, ..Limits::default() };
        let max = usize::try_from(string_bytes_max).unwrap();
        assert_eq!(fault(format!("[\"{}\"]", "s".repeat(max)).as_bytes(), limits), None);
        let long = format!("[\"{}\"]", "s".repeat(max + 1));
        assert_eq!(fault(long.as_bytes(), limits), at(What::StringLength(string_bytes_max), 2 + max));
        // Six bytes for one character.
        let escapes = format!("[\"{}\"]", "\\u0073".repeat(max / 6));
        assert_eq!(fault(escapes.as_bytes(), limits), None);
        let long = format!("[\"{}\"]", "\\u0073".repeat(max / 6 + 1));
        assert_eq!(fault(long.as_bytes(), limits), at(What::StringLength(string_bytes_max), 2 + max));
    }
}

#[test]
fn a_document_is_bounded_with_the_space_around_it() {
    let limits = |document_bytes_max| Limits { document_bytes_max, ..Limits::default() };
    for text in [&b" {\"a\" : 1} "[..], b"[true]", b"12345", b"\"abc\""] {
        let whole = text.len() as u64;
        assert_eq!(fault(text, limits(whole)), None);
        for short in 0..whole {
            let found = fault(text, limits(short));
            assert_eq!(found, at(What::Document(short), usize::try_from(short).unwrap()), "{short}");
        }
    }
}

#[test]
fn by_default_what_costs_memory_is_bounded_and_nothing_else() {
    let limits = Limits::default();
    assert!(limits.depth_max <= 64 && limits.members_max <= 4_096 && limits.key_bytes_max <= 1_024);
    let long = format!("[\"{}\",{}]", "s".repeat(1 << 20), "9".repeat(1 << 20));
    assert_eq!(read(long.as_bytes(), limits).1, None);
}
