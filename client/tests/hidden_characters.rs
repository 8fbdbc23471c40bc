//! The table of hidden characters against Unicode's own, as the crate `regex` has them.

use chancery_tlog::escape::is_hidden;
use regex::Regex;

#[test]
fn the_hidden_characters_are_unicode_s() {
    let class = r"^[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Bidi_Control}]$";
    let expected = Regex::new(class).unwrap();
    let mut text = String::new();
    for c in '\0'..=char::MAX {
        text.clear();
        text.push(c);
        assert_eq!(is_hidden(c), expected.is_match(&text), "{}", c.escape_unicode());
    }
}
