//! What JSON becomes in XML, what is refused, and that pieces and order make no difference.

use proptest::prelude::*;

use super::*;

const DEPTH: usize = 64;

fn xml(json: &str) -> Result<String, XmlError> {
    to_xml(json.as_bytes(), DEPTH).map(|xml| String::from_utf8(xml).unwrap())
}

fn streamed(
    json: &str,
    piece: usize,
    ordered_bytes: usize,
    held_bytes_max: usize,
) -> Result<String, XmlError> {
    let mut writer = XmlWriter::new(Limits { depth_max: DEPTH, held_bytes_max, ordered_bytes });
    let mut out = Vec::new();
    for part in json.as_bytes().chunks(piece) {
        writer.feed(part, &mut out)?;
    }
    writer.finish(&mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn elements_come_in_the_order_of_the_definitions_whatever_the_order_in_json() {
    let json = r#"{"birthDate":"1980-02-03","_birthDate":{"extension":[{"valueString":"x","url":"http://e"}]},
        "name":[{"given":["Ann","B"],"family":"Lee","id":"n1"}],"resourceType":"Patient","active":true,"id":"p1",
        "meta":{"profile":["http://p"],"versionId":"3"},"contact":[{"gender":"female","id":"c"}]}"#;
    let expected = concat!(
        r#"<Patient xmlns="http://hl7.org/fhir"><id value="p1"/>"#,
        r#"<meta><versionId value="3"/><profile value="http://p"/></meta>"#,
        r#"<active value="true"/>"#,
        r#"<name id="n1"><family value="Lee"/><given value="Ann"/><given value="B"/></name>"#,
        r#"<birthDate value="1980-02-03"><extension url="http://e"><valueString value="x"/></extension></birthDate>"#,
        r#"<contact id="c"><gender value="female"/></contact></Patient>"#
    );
    assert_eq!(xml(json).as_deref(), Ok(expected));
}

#[test]
fn values_keep_their_letters() {
    let json = r#"{"resourceType":"Observation","status":"final","code":{"text":"a \"b\" <c> & \u00e9\ud83d\ude00\nd\te"},
        "valueQuantity":{"value":98.60},"component":[{"code":{},"valueQuantity":{"value":1.0e-7}}]}"#;
    let json = json.replace("\"code\":{},", "\"code\":{\"text\":\" \"},");
    let expected = concat!(
        r#"<Observation xmlns="http://hl7.org/fhir"><status value="final"/>"#,
        r#"<code><text value="a &quot;b&quot; &lt;c&gt; &amp; é😀&#10;d&#9;e"/></code>"#,
        r#"<valueQuantity><value value="98.60"/></valueQuantity>"#,
        r#"<component><code><text value=" "/></code><valueQuantity><value value="1.0e-7"/></valueQuantity></component>"#,
        r#"</Observation>"#
    );
    assert_eq!(xml(&json).as_deref(), Ok(expected));
}

#[test]
fn lists_of_values_and_their_siblings_stand_side_by_side() {
    let json = r#"{"resourceType":"Patient","name":[{"given":["A",null,"C"],
        "_given":[null,{"extension":[{"url":"u","valueCode":"masked"}]},{"id":"i"}]}]}"#;
    let expected = concat!(
        r#"<Patient xmlns="http://hl7.org/fhir"><name><given value="A"/>"#,
        r#"<given><extension url="u"><valueCode value="masked"/></extension></given>"#,
        r#"<given id="i" value="C"/></name></Patient>"#
    );
    assert_eq!(xml(json).as_deref(), Ok(expected));
}

#[test]
fn resources_within_resources_stand_in_an_element_of_their_type() {
    let json = r##"{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Observation",
        "contained":[{"resourceType":"Patient","id":"x"},{"resourceType":"Basic"}],"subject":{"reference":"#x"}}},
        {"name":"b","part":[{"name":"c","valueBoolean":false}]}]}"##;
    let expected = concat!(
        r#"<Parameters xmlns="http://hl7.org/fhir"><parameter><name value="a"/><resource><Observation>"#,
        r#"<contained><Patient><id value="x"/></Patient></contained><contained><Basic></Basic></contained>"#,
        r##"<subject><reference value="#x"/></subject></Observation></resource></parameter>"##,
        r#"<parameter><name value="b"/><part><name value="c"/><valueBoolean value="false"/></part></parameter>"#,
        r#"</Parameters>"#
    );
    assert_eq!(xml(json).as_deref(), Ok(expected));
}

#[test]
fn narrative_stands_as_xhtml_or_the_whole_is_refused() {
    let with =
        |div: &str| format!(r#"{{"resourceType":"Basic","text":{{"div":"{div}","status":"generated"}}}}"#);
    assert_eq!(
        xml(&with("<div>a&nbsp;<b>b</b></div>")).as_deref(),
        Ok(concat!(
            r#"<Basic xmlns="http://hl7.org/fhir"><text><status value="generated"/>"#,
            "<div xmlns=\"http://www.w3.org/1999/xhtml\">a\u{a0}<b>b</b></div></text></Basic>"
        ))
    );
    for bad in ["<div>a", "</text><id value='x'/>", "<div/></text></Basic><Patient/>", "plain"] {
        assert!(matches!(xml(&with(bad)), Err(XmlError::Narrative(_))), "{bad}");
    }
}

#[test]
fn what_r4_does_not_know_is_refused_and_never_left_out() {
    for (json, within) in [
        (r#"{"resourceType":"Patient","vendorId":"x"}"#, "Patient"),
        (r#"{"resourceType":"Patient","_vendorId":{"id":"x"}}"#, "Patient"),
        (r#"{"resourceType":"Patient","name":[{"nick":"x"}]}"#, "HumanName"),
        (r#"{"resourceType":"Patient","_name":[{"id":"x"}]}"#, "Patient"),
        (r#"{"resourceType":"Patient","contact":[{"resourceType":"Patient"}]}"#, "Patient.contact"),
        (r#"{"resourceType":"Patient","name":[{"_id":{"id":"x"}}]}"#, "HumanName"),
        (r#"{"resourceType":"Patient","_birthDate":{"value":"x"}}"#, "Element"),
        (r#"{"resourceType":"Patient","text":{"_div":{"id":"x"}}}"#, "Narrative"),
        (r#"{"resourceType":"Patient","deceased":true}"#, "Patient"),
    ] {
        match xml(json) {
            Err(XmlError::Unknown { within: found, .. }) => assert_eq!(found, within, "{json}"),
            other => panic!("{json} became {other:?}"),
        }
    }
    for json in [
        r#"{"id":"x"}"#,
        r#"{"resourceType":"Patient2"}"#,
        r#"{"resourceType":"HumanName"}"#,
        "[]",
        "1",
        "{}",
    ] {
        assert!(matches!(xml(json), Err(XmlError::NoResource(_))), "{json} became {:?}", xml(json));
    }
    assert!(
        xml(r#"{"resourceType":"Parameters","parameter":[{"resource":{"resourceType":"Vendor"}}]}"#).is_err()
    );
    // Comments of an older JSON form are the one thing that is passed over.
    let commented =
        r#"{"resourceType":"Patient","fhir_comments":["x"],"_id":{"fhir_comments":["y"],"id":"z"},"id":"p"}"#;
    assert_eq!(
        xml(commented).as_deref(),
        Ok(r#"<Patient xmlns="http://hl7.org/fhir"><id id="z" value="p"/></Patient>"#)
    );
}

#[test]
fn what_has_another_shape_than_r4_says_is_refused() {
    for json in [
        r#"{"resourceType":"Patient","name":{"family":"x"}}"#,
        r#"{"resourceType":"Patient","name":[null]}"#,
        r#"{"resourceType":"Patient","name":["x"]}"#,
        r#"{"resourceType":"Patient","birthDate":null}"#,
        r#"{"resourceType":"Patient","birthDate":["1980"]}"#,
        r#"{"resourceType":"Patient","birthDate":{"value":"1980"}}"#,
        r#"{"resourceType":"Patient","_birthDate":{}}"#,
        r#"{"resourceType":"Patient","_birthDate":"x"}"#,
        r#"{"resourceType":"Patient","name":[{"given":[null]}]}"#,
        r#"{"resourceType":"Patient","name":[{"given":"x"}]}"#,
        r#"{"resourceType":"Patient","name":[{"id":5}]}"#,
        r#"{"resourceType":"Patient","text":{"div":5}}"#,
        r#"{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"2001"}"#,
        r#"{"resourceType":"Patient","deceasedBoolean":true,"_deceasedDateTime":{"id":"x"}}"#,
        r#"{"resourceType":"Bundle","type":"batch","entry":[1]}"#,
        r#"{"resourceType":"Bundle","type":"batch","entry":{"a":{"resource":{}}}}"#,
    ] {
        assert!(matches!(xml(json), Err(XmlError::Shape { .. })), "{json} became {:?}", xml(json));
    }
}

#[test]
fn empty_objects_are_empty_elements_and_empty_lists_are_nothing() {
    assert_eq!(
        xml(r#"{"resourceType":"Patient","name":[{}],"link":[],"maritalStatus":{}}"#).as_deref(),
        Ok(r#"<Patient xmlns="http://hl7.org/fhir"><name/><maritalStatus/></Patient>"#)
    );
}

#[test]
fn characters_that_xml_cannot_carry_are_refused_wherever_they_stand() {
    for json in [
        r#"{"resourceType":"Patient","name":[{"family":"a\u0000"}]}"#,
        r#"{"resourceType":"Patient","name":[{"family":"a\ufffe"}]}"#,
        r#"{"resourceType":"Patient","name":[{"id":"a\b"}]}"#,
        r#"{"resourceType":"Patient","extension":[{"url":"a\f"}]}"#,
        r#"{"resourceType":"Patient","_active":{"extension":[{"url":"u","valueString":"\u001f"}]}}"#,
    ] {
        assert!(matches!(xml(json), Err(XmlError::Character { .. })), "{json} became {:?}", xml(json));
    }
    let narrative = r#"{"resourceType":"Patient","text":{"div":"<div>\u0001</div>"}}"#;
    assert!(matches!(xml(narrative), Err(XmlError::Narrative(_))));
}

#[test]
fn a_document_cut_off_or_twisted_never_ends_well() {
    let json = bundle(6, "");
    for end in 0..json.len() {
        for ordered in [0, usize::MAX] {
            assert!(streamed(&json[..end], 64, ordered, usize::MAX).is_err(), "{end}");
        }
    }
    assert!(xml(r#"{"resourceType":"Patient","id":"a","id":"b"}"#).is_err());
    assert!(xml(r#"{"resourceType":"Patient"} x"#).is_err());
}

fn bundle(entries: usize, tail: &str) -> String {
    let entry = |n| {
        format!(
            r#"{{"search":{{"mode":"match"}},"resource":{{"id":"o{n}","resourceType":"Observation","valueInteger":{n},"status":"final"}},"fullUrl":"http://x/o{n}"}}"#
        )
    };
    let entries: Vec<String> = (0..entries).map(entry).collect();
    format!(
        r#"{{"type":"searchset","link":[{{"url":"http://x?a=1&b=2","relation":"self"}}],"resourceType":"Bundle", "entry" : [{}]{tail} }}"#,
        entries.join(" , ")
    )
}

#[test]
fn a_long_bundle_is_written_as_it_comes_and_only_an_entry_is_held() {
    let json = bundle(500, r#","signature":{"who":{"display":"w"}}"#);
    let mut writer = XmlWriter::new(Limits { depth_max: DEPTH, held_bytes_max: 2_000, ordered_bytes: 500 });
    let (mut out, mut held) = (Vec::new(), 0);
    for piece in json.as_bytes().chunks(333) {
        writer.feed(piece, &mut out).unwrap();
        held = held.max(writer.held_bytes());
    }
    writer.finish(&mut out).unwrap();
    assert!(held < 1_000, "{held}");
    assert_eq!(out, xml(&json).unwrap().into_bytes());
    assert!(out.ends_with(br#"<signature><who><display value="w"/></who></signature></Bundle>"#));
}

#[test]
fn a_bundle_in_another_order_is_put_in_order_while_it_can_be_held() {
    let entry = r#"{"resource":{"resourceType":"Basic"}}"#;
    let late = format!(
        r#"{{"entry":[{entry},{entry}],"link":[{{"relation":"self","url":"u"}}],"resourceType":"Bundle","total":2,"type":"searchset"}}"#
    );
    let expected = concat!(
        r#"<Bundle xmlns="http://hl7.org/fhir"><type value="searchset"/><total value="2"/>"#,
        r#"<link><relation value="self"/><url value="u"/></link>"#,
        r#"<entry><resource><Basic></Basic></resource></entry><entry><resource><Basic></Basic></resource></entry></Bundle>"#
    );
    // It is never begun before its links, which a search has, so it comes out right or not at all.
    for ordered in [0, 50, 10_000] {
        assert_eq!(streamed(&late, 7, ordered, 10_000).as_deref(), Ok(expected));
    }
    assert_eq!(streamed(&late, 7, 0, 100), Err(XmlError::Held(100)));
    // Nothing tells beforehand that a total is still to come.
    let total = bundle(9, r#","total":9"#);
    assert_eq!(streamed(&total, 50, 100, 10_000), Err(XmlError::Late("total")));
    assert!(streamed(&total, 50, 10_000, 10_000).unwrap().contains(r#"<total value="9"/><link>"#));
}

proptest! {
    #[test]
    fn pieces_and_streaming_make_no_difference(entries in 0usize..8, piece in 1usize..400, ordered in 0usize..900, signed: bool) {
        let json = bundle(entries, if signed { r#","signature":{"id":"s"}"# } else { "" });
        prop_assert_eq!(streamed(&json, piece, ordered, usize::MAX), xml(&json));
    }

    #[test]
    fn any_text_is_refused_or_becomes_well_formed_xml(text in r#"[\[\]{}:,"\\ a-e0-9]{0,40}"#, value in any::<String>()) {
        for json in [text.clone(), format!(r#"{{"resourceType":"Basic","code":{{"text":{}}},"x{text}":1}}"#, serde_json::to_string(&value).unwrap()),
            format!(r#"{{"resourceType":"Basic","code":{{"text":{}}}}}"#, serde_json::to_string(&value).unwrap())]
        {
            if let Ok(xml) = xml(&json) {
                let document = roxmltree::Document::parse(&xml).unwrap();
                prop_assert_eq!(document.root_element().tag_name().namespace(), Some("http://hl7.org/fhir"));
            }
        }
    }
}
