//! The text form of a problem: what reads, what it means, what is refused, and that writing and reading are inverse.

mod reference;

use convgrad::{ConvShape, Error, NamedShape};
use proptest::prelude::*;

fn read(text: &str) -> ConvShape {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn refused(text: &str) -> Error {
    match text.parse::<ConvShape>() {
        Ok(shape) => panic!("`{text}` was read as {shape}"),
        Err(error) => error,
    }
}

/// Where reading stopped, and why.
fn parse_error(text: &str) -> (String, String) {
    match refused(text) {
        Error::Parse { text: quoted, at, reason } => {
            assert_eq!(quoted, text.trim());
            (at, reason)
        }
        other => panic!("`{text}`: {other:?}"),
    }
}

#[test]
fn descriptors_mean_what_the_builder_says() {
    let conv2d = |batch, ic, input, oc, kernel| ConvShape::conv2d(batch, ic, input, oc, kernel);
    let cases = [
        (
            "mb8g1ic64ih56iw56oc64oh56ow56kh3kw3sh1sw1ph1pw1dh0dw0",
            conv2d(8, 64, [56; 2], 64, [3; 2]).padding(1).build(),
        ),
        (
            "mb8ic64ih56oc64oh56kh3ph1n\"resnet_50:res2a_branch2b\"",
            conv2d(8, 64, [56; 2], 64, [3; 2]).padding(1).build(),
        ),
        ("mb1ic1ih5oc1oh4kh2n\"seed\"", conv2d(1, 1, [5; 2], 1, [2; 2]).build()),
        ("ic3ih8oc4kh3", conv2d(2, 3, [8; 2], 4, [3; 2]).build()),
        ("_ic3_ih8__oc4_kh3_", conv2d(2, 3, [8; 2], 4, [3; 2]).build()),
        ("kh3oc4ih8ic3mb2", conv2d(2, 3, [8; 2], 4, [3; 2]).build()),
        ("mb8ic3ih224oc64oh112kh7sh2ph3", conv2d(8, 3, [224; 2], 64, [7; 2]).stride(2).padding(3).build()),
        ("mb8g32ic32ih112oc32oh112kh3ph1", conv2d(8, 32, [112; 2], 32, [3; 2]).padding(1).groups(32).build()),
        ("mb1ic2ih9iw7oc5kh3kw2sh2sw1dh0dw1", conv2d(1, 2, [9, 7], 5, [3, 2]).stride([2, 1]).dilation([1, 2]).build()),
        ("mb1ic1ih9oc1kh3dh1", conv2d(1, 1, [9; 2], 1, [3; 2]).dilation(2).build()),
        ("mb1ic2iw9oc5kw3", ConvShape::conv1d(1, 2, 9, 5, 3).build()),
        ("mb1ic2iw9oc5kw3sw2pw1dw1", ConvShape::conv1d(1, 2, 9, 5, 3).stride(2).padding(1).dilation(2).build()),
        ("mb1ic2id4oc5kd3", ConvShape::conv3d(1, 2, [4; 3], 5, [3; 3]).build()),
        ("mb1ic2id4ih5iw6oc5kd1kh2kw3", ConvShape::conv3d(1, 2, [4, 5, 6], 5, [1, 2, 3]).build()),
        ("mb1ic2id4iw6oc5kd3kw1pd1", ConvShape::conv3d(1, 2, [4, 4, 6], 5, [3, 3, 1]).padding(1).build()),
    ];
    for (text, built) in cases {
        assert_eq!(read(text), built.unwrap(), "{text}");
    }
}

#[test]
fn padding_is_deduced_from_the_output_and_the_output_from_padding() {
    let padding =
        |text: &str| read(text).spatial_axes().iter().map(|a| (a.padding, a.padding_end())).collect::<Vec<_>>();
    assert_eq!(padding("ic1iw5oc1ow5kw3"), [(1, 1)]);
    assert_eq!(padding("ic1iw5oc1ow5kw2"), [(0, 1)], "an odd total leaves the larger half behind the input");
    assert_eq!(padding("ic1iw5oc1ow6kw3pw1"), [(1, 2)], "padding begins where it says, and ends where outputs end");
    assert_eq!(padding("ic1iw5oc1kw3pw2"), [(2, 2)]);
    assert_eq!(padding("ic1iw5oc1kw3"), [(0, 0)]);
    assert_eq!(padding("ic1iw6oc1ow2kw3sw2"), [(0, -1)], "the last input is read by no output");
    assert_eq!(padding("ic1ih5iw7oc1oh5ow7kh3kw5"), [(1, 1), (2, 2)]);
    assert_eq!(read("ic1ih5iw7oc1kh3kw5ph1").output_dims(), [2, 1, 5, 5], "a missing pw copies ph");
}

#[test]
fn names_and_lists_of_benchdnn() {
    let file = "# ResNet\n\n--reset --dt=f32 --dir=BWD_W\nmb2ic3ih8oc4kh3n\"a:b/c\"\r\n  ic4ih6oc4kh3 # plain\n\
                ic4ih6oc4kh3nbare*2\n--batch=shapes_other\n";
    let shapes = NamedShape::read_list(file).unwrap();
    let names: Vec<_> = shapes.iter().map(|s| s.name.as_deref()).collect();
    assert_eq!(names, [Some("a:b/c"), None, Some("bare*2")]);
    assert_eq!(shapes[0].to_string(), "mb2ic3ih8oc4oh6kh3n\"a:b/c\"");
    assert_eq!(shapes[0].to_string().parse(), Ok(shapes[0].clone()));
    assert_eq!(NamedShape::read_list(""), Ok(vec![]));
    assert!(matches!(NamedShape::read_list("ic4ih6oc4kh3\nic4 ih6\n"), Err(Error::Parse { .. })));
}

#[test]
fn each_mistake_has_its_message() {
    let the_end = |field: &str| ("the end".to_owned(), format!("the field `{field}` is missing"));
    assert_eq!(parse_error(""), the_end("iw"));
    assert_eq!(parse_error("ih5kh3oc1"), the_end("ic"));
    assert_eq!(parse_error("ih5kh3ic1"), the_end("oc"));
    assert_eq!(parse_error("ic1oc1kh3"), the_end("ih"));
    assert_eq!(parse_error("ic1oc1ih3"), the_end("kh"));
    assert_eq!(parse_error("ic1oc1id3"), the_end("kd"));
    let at = |text: &str, reason: &str| (text.to_owned(), reason.to_owned());
    assert_eq!(parse_error("ic1oc1ih3kx3"), at("kx3", "unknown field"));
    assert_eq!(parse_error("ic1oc1ih3khh3"), at("khh3", "unknown field"));
    assert_eq!(parse_error("ic1oc1ih3 kh3"), at(" kh3", "unknown field"));
    assert_eq!(parse_error("IC1"), at("IC1", "unknown field"));
    assert_eq!(parse_error("ic1oc1ihkh3"), at("ihkh3", "unknown field"));
    assert_eq!(parse_error("ic1oc1ih_kh3"), at("ih_kh3", "the field has no value"));
    assert_eq!(parse_error("ic1oc1ih-3"), at("ih-3", "the field has no value"));
    assert_eq!(parse_error("ic1oc1ih3kh2ih4"), at("ih4", "the field is given twice"));
    assert_eq!(parse_error("ic99999999999999999999"), at("ic99999999999999999999", "the value is too large"));
}

#[test]
fn sizes_without_meaning_are_refused_as_by_the_builder() {
    for (text, field) in [
        ("mb0ic1ih3oc1kh3", "batch"),
        ("g0ic1ih3oc1kh3", "groups"),
        ("ic0ih3oc1kh3", "in_channels"),
        ("ic1ih3oc0kh3", "out_channels"),
        ("ic1ih0oc1kh3", "input"),
        ("ic1ih3oc1kh0", "kernel"),
        ("ic1ih3oc1oh0kh3", "output"),
        ("ic1ih3oc1kh3sh0", "stride"),
    ] {
        assert_eq!(refused(text), Error::ZeroSize { field }, "{text}");
    }
    assert_eq!(refused("g2ic3ih3oc4kh3"), Error::Groups { field: "in_channels", channels: 3, groups: 2 });
    assert_eq!(refused("ic1ih5iw3oc1kh5"), Error::KernelTooLarge { axis: "width", extent: 5, padded: 3 });
    assert_eq!(refused("ic1ih5oc1kh3dh2"), Error::KernelTooLarge { axis: "height", extent: 7, padded: 5 });
}

#[test]
fn absurd_numbers_are_too_large() {
    let max = usize::MAX;
    for text in [
        format!("ic1ih{max}oc1kh1"),
        format!("ic1ih3oc1kh3dh{max}"),
        format!("ic1ih3oc1kh{max}ph{max}"),
        format!("ic1ih3oc1oh{max}kh3sh{max}"),
        format!("ic1ih3oc1oh{max}kh3ph0"),
        format!("mb{max}ic1ih3oc1kh3"),
        format!("ic{max}ih3oc1kh3"),
        "ic4000000000iw1oc4000000000kw1".to_owned(),
    ] {
        assert!(matches!(refused(&text), Error::TooLarge { .. }), "{text}: {:?}", refused(&text));
    }
}

#[test]
fn the_canonical_form_is_short_and_in_order() {
    for text in [
        "mb8ic64ih56oc64oh56kh3ph1",
        "mb1ic1ih5oc1oh4kh2",
        "mb8g32ic32ih112oc32oh112kh3ph1",
        "mb8ic512ih28oc1024oh14kh1sh2",
        "mb1ic2iw9oc5ow7kw3",
        "mb2ic1ih9iw7oc1oh7ow3kh3dh0dw1",
        "mb1ic2id4oc5od2kd3",
        "mb1ic1iw5oc1ow5kw3pw0",
    ] {
        assert_eq!(read(text).to_string(), text);
    }
}

/// Descriptors of plausible and implausible fields in any order.
fn descriptors() -> impl Strategy<Value = String> {
    let key = prop::sample::select(
        &[
            "mb", "g", "ic", "oc", "id", "ih", "iw", "od", "oh", "ow", "kd", "kh", "kw", "sd", "sh", "sw", "pd", "ph",
            "pw",
        ][..],
    );
    let more = prop::sample::select(&["dd", "dh", "dw", "_", "n", "n\"", "x", "ké", "\"", " "][..]);
    let number = prop_oneof![
        6 => (0..12usize).prop_map(|n| n.to_string()),
        1 => any::<usize>().prop_map(|n| n.to_string()),
        1 => (0..64u32).prop_map(|n| (1u64 << n).to_string()),
        1 => Just("18446744073709551616".to_owned()),
        1 => Just(String::new()),
    ];
    let field = (prop_oneof![12 => key, 1 => more], number).prop_map(|(k, n)| format!("{k}{n}"));
    prop::collection::vec(field, 0..14).prop_map(|fields| fields.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(shape in reference::shapes::shapes(), name in prop::option::of("[a-z0-9_:./*+ -]{0,20}")) {
        prop_assert_eq!(shape.to_string().parse::<ConvShape>(), Ok(shape));
        let named = NamedShape { shape, name };
        prop_assert_eq!(named.to_string().parse::<NamedShape>(), Ok(named));
    }

    #[test]
    fn reading_never_panics(text in prop_oneof![descriptors(), "\\PC{0,40}", "[a-z0-9_\"]{0,40}"]) {
        if let Ok(named) = text.parse::<NamedShape>() {
            prop_assert_eq!(named.to_string().parse::<NamedShape>().map(|n| n.shape), Ok(named.shape));
        }
        let _ = NamedShape::read_list(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// All the ways to name a shape that has every field: an accepted text keeps its fields.
    #[test]
    fn complete_descriptors_keep_their_fields(
        (i, o, k, s, p, d) in (1..40usize, 1..40usize, 1..9usize, 1..5usize, 0..9usize, 0..4usize),
        (g, ic, oc) in (1..5usize, 1..9usize, 1..9usize),
    ) {
        let text = format!("mb3g{g}ic{}iw{i}oc{}ow{o}kw{k}sw{s}pw{p}dw{d}", g * ic, g * oc);
        let shape = read(&text);
        // Nothing is a stride apart on an axis of one output: its stride is 1, whatever was given.
        let s = if o == 1 { 1 } else { s };
        let axis = convgrad::Axis { input: i, kernel: k, output: o, stride: s, dilation: d + 1, padding: p };
        prop_assert_eq!(shape.spatial_axes(), [axis]);
        prop_assert_eq!((shape.groups(), shape.in_channels(), shape.out_channels()), (g, g * ic, g * oc));
    }
}
