//! The catalogue against what was published: a set that claims to be a network has that network's layers.
//!
//! Shapes are facts copied by hand. What holds them: the text form reads back as it is written, layers fit together,
//! and their number and multiply-adds are those of the papers. No shape is computed here: some take seconds.

use convgrad::catalog::{self, ShapeSet};
use convgrad::{ConvShape, NamedShape};
use std::collections::{HashMap, HashSet};

fn set(name: &str) -> &'static ShapeSet {
    catalog::sets().iter().find(|set| set.name() == name).expect("the set exists")
}

/// The shapes of a network, or of the one of several in a set whose layers' names begin so, with their repetitions.
fn layers(set_name: &str, prefix: &str) -> Vec<(ConvShape, usize)> {
    let of_network = |named: &NamedShape| named.name.as_deref().is_some_and(|name| name.starts_with(prefix));
    let all = set(set_name).shapes().into_iter().zip(set(set_name).repetitions());
    all.filter(|(named, _)| of_network(named)).map(|(named, times)| (named.shape, times)).collect()
}

#[test]
fn every_set_reads_describes_itself_and_is_in_canonical_form() {
    for set in catalog::sets() {
        let shapes = NamedShape::read_list(set.text()).unwrap_or_else(|e| panic!("{}: {e}", set.name()));
        assert!(!shapes.is_empty(), "{} is empty", set.name());
        let described = set.text().starts_with("# ") && set.description().ends_with('.');
        assert!(described, "{} lacks its first line", set.name());
        assert!(set.text().lines().all(|line| line.len() <= 120), "{} has long lines", set.name());
        let descriptors: Vec<_> = NamedShape::descriptors(set.text()).map(|(_, descriptor)| descriptor).collect();
        assert_eq!(descriptors, shapes.iter().map(NamedShape::to_string).collect::<Vec<_>>());
    }
}

#[test]
fn a_name_means_one_shape_over_all_sets_and_a_set_has_each_shape_once() {
    let mut set_names = HashSet::new();
    let mut meanings = HashMap::new();
    for set in catalog::sets() {
        assert!(set_names.insert(set.name()), "two sets are called {}", set.name());
        let (mut shapes, mut names) = (HashSet::new(), HashSet::new());
        for NamedShape { shape, name } in set.shapes() {
            let name = name.unwrap_or_else(|| panic!("{shape} in {} has no name", set.name()));
            assert!(shapes.insert(shape), "{shape} is twice in {}", set.name());
            assert!(names.insert(name.clone()), "{name} is twice in {}", set.name());
            let meaning = *meanings.entry(name.clone()).or_insert(shape);
            assert_eq!(meaning, shape, "{name} means two shapes");
        }
    }
    assert_eq!(catalog::set("core"), Some(set("core").shapes()));
    assert_eq!(catalog::set("resnet51"), None);
}

#[test]
fn every_comment_behind_a_shape_is_a_count() {
    for set in catalog::sets() {
        let behind = |line: &str| line.split_once("  # ").map(|(_, comment)| comment.to_owned());
        let shapes = set.text().lines().filter(|line| !line.starts_with('#'));
        let written: Vec<usize> = shapes
            .map(|line| match behind(line) {
                Some(comment) => {
                    comment.split(" times").next().unwrap().parse().unwrap_or_else(|e| panic!("{line}: {e}"))
                }
                None => 1,
            })
            .collect();
        assert_eq!(set.repetitions(), written, "{}", set.name());
        assert_eq!(set.repetitions().len(), set.shapes().len(), "{}", set.name());
    }
}

/// What is published of a network.
struct Network {
    set: &'static str,
    /// What the names of its layers begin with.
    prefix: &'static str,
    convolutions: usize,
    /// Of one image or clip, and how far the figure may be off.
    multiply_adds: Option<(f64, f64)>,
}

const NETWORKS: [Network; 9] = [
    // Simonyan and Zisserman 2015; 15.3e9 in He et al. 2016.
    Network { set: "vgg16", prefix: "vgg_16:", convolutions: 13, multiply_adds: Some((15.3e9, 0.1e9)) },
    // He et al. 2016; of its 50 layers one is fully connected, and 4 convolutions on shortcuts are not counted.
    Network { set: "resnet50", prefix: "resnet_50:", convolutions: 53, multiply_adds: Some((3.8e9, 0.1e9)) },
    // torchvision's documentation of its resnet50, less the fully connected layer.
    Network {
        set: "resnet50_v1.5",
        prefix: "resnet_50_v1.5:",
        convolutions: 53,
        multiply_adds: Some((4.089e9 - 2048e3, 0.001e9)),
    },
    // Howard et al. 2017: 569e6, of which the fully connected layer is 1e6; 28 layers with it.
    Network { set: "mobilenet", prefix: "mobilenet:", convolutions: 27, multiply_adds: Some((568e6, 1e6)) },
    // Sandler et al. 2018: 300e6, of which the last layer is 1.3e6.
    Network { set: "mobilenet_v2", prefix: "mobilenet_v2:", convolutions: 52, multiply_adds: Some((298.7e6, 1e6)) },
    // Ronneberger et al. 2015: 23 convolutional layers.
    Network { set: "unet", prefix: "unet:", convolutions: 23, multiply_adds: None },
    // Arik et al. 2017: 40 layers, each dilated, residual and skip; one at the input and two at the output.
    Network { set: "wavenet", prefix: "wavenet:", convolutions: 123, multiply_adds: None },
    // Tran et al. 2015: 8 convolutions; 38.5e9 in Tran et al. 2017 (arXiv:1708.05038).
    Network { set: "video", prefix: "c3d:", convolutions: 8, multiply_adds: Some((38.5e9, 0.1e9)) },
    // torchvision's documentation of its r2plus1d_18: 40.52e9; 17 factors in two, and 3 shortcuts.
    Network { set: "video", prefix: "r2plus1d_18:", convolutions: 37, multiply_adds: Some((40.52e9, 0.01e9)) },
];

fn multiply_adds(layers: &[(ConvShape, usize)]) -> f64 {
    layers.iter().map(|(shape, times)| *times as f64 * shape.flops() / 2.0 / shape.batch() as f64).sum()
}

#[test]
fn networks_have_the_layers_and_the_cost_their_papers_say() {
    for Network { set, prefix, convolutions, multiply_adds: published } in NETWORKS {
        let layers = layers(set, prefix);
        assert_eq!(layers.iter().map(|(_, times)| times).sum::<usize>(), convolutions, "{prefix}");
        if let Some((published, tolerance)) = published {
            let counted = multiply_adds(&layers);
            assert!((counted - published).abs() < tolerance, "{prefix} {counted:e} for {published:e}");
        }
    }
}

#[test]
fn googlenet_costs_what_table_1_of_its_paper_says() {
    let layers = layers("googlenet", "googlenet_v1:");
    assert_eq!(layers.iter().map(|(_, times)| times).sum::<usize>(), 57);
    // From the second convolution on: the 34e6 given for the first are too few for a 7x7 kernel of 64 outputs at 112x112.
    let table: f64 = [360.0, 128.0, 304.0, 73.0, 88.0, 100.0, 119.0, 170.0, 54.0, 71.0].iter().sum();
    let counted = multiply_adds(&layers[1..]) / 1e6;
    assert!((counted - table).abs() < 5.0, "{counted} for {table}");
}

/// Whether a layer with the shape `next` can read what one with the shape `before` gives, as it is or pooled.
fn feeds(before: &ConvShape, next: &ConvShape) -> bool {
    before.out_channels() == next.in_channels() && reaches(before, next)
}

fn reaches(before: &ConvShape, next: &ConvShape) -> bool {
    let sizes = before.axes().iter().map(|a| a.output).zip(next.axes().iter().map(|a| a.input));
    before.batch() == next.batch() && sizes.into_iter().all(|(from, to)| to == from || to == from / 2)
}

#[test]
fn the_layers_of_a_network_feed_each_other() {
    // Outputs of GoogLeNet's modules, concatenated from four layers each: Table 1 of its paper.
    let googlenet = &[256, 480, 512, 528, 832][..];
    for (name, prefix, image, concatenated) in [
        ("lenet", "lenet:", [1, 1, 32, 32], &[][..]),
        ("vgg16", "vgg_16:", [3, 1, 224, 224], &[]),
        ("resnet50", "resnet_50:", [3, 1, 224, 224], &[]),
        ("resnet50_v1.5", "resnet_50_v1.5:", [3, 1, 224, 224], &[]),
        ("mobilenet", "mobilenet:", [3, 1, 224, 224], &[]),
        ("mobilenet_v2", "mobilenet_v2:", [3, 1, 224, 224], &[]),
        ("googlenet", "googlenet_v1:", [3, 1, 224, 224], googlenet),
        ("wavenet", "wavenet:", [256, 1, 1, 16000], &[]),
        ("video", "c3d:", [3, 16, 112, 112], &[]),
        ("video", "r2plus1d_18:", [3, 16, 112, 112], &[]),
    ] {
        let layers: Vec<ConvShape> = layers(name, prefix).into_iter().map(|(shape, _)| shape).collect();
        let [depth, height, width] = layers[0].axes().map(|axis| axis.input);
        assert_eq!([layers[0].in_channels(), depth, height, width], image, "{prefix}");
        for next in &layers[1..] {
            let fed = |before: &ConvShape| {
                feeds(before, next) || (concatenated.contains(&next.in_channels()) && reaches(before, next))
            };
            assert!(layers.iter().any(fed), "nothing feeds {next} of {name}");
        }
    }
}

#[test]
fn u_net_contracts_expands_and_joins() {
    let shapes: HashMap<String, ConvShape> =
        set("unet").shapes().into_iter().map(|named| (named.name.expect("a name"), named.shape)).collect();
    let of = |name: &str| shapes[&format!("unet:{name}")];
    let height = |shape: &ConvShape| (shape.axes()[1].input, shape.axes()[1].output);
    // The sizes of figure 1, and no padding anywhere.
    assert_eq!([height(&of("down1a")).0, height(&of("out")).1], [572, 388]);
    assert!(shapes.values().flat_map(|shape| shape.axes()).all(|a| a.padding == 0 && a.padding_end() <= 0));
    for level in 1..=4 {
        let [skip, up, join] = [format!("down{level}b"), format!("up{level}"), format!("up{level}a")].map(|n| of(&n));
        let below = if level == 4 { of("down5b") } else { of(&format!("up{}b", level + 1)) };
        assert!(feeds(&skip, &of(&format!("down{}a", level + 1))), "the layer below level {level} is pooled");
        assert!(feeds(&of(&format!("down{level}a")), &skip) && feeds(&join, &of(&format!("up{level}b"))));
        // Transposed: its output is the layer's input.
        assert_eq!((up.out_channels(), height(&up).1), (below.out_channels(), height(&below).1), "level {level}");
        assert_eq!(join.in_channels(), up.in_channels() + skip.out_channels(), "level {level}");
        assert!(height(&join).0 == height(&up).0 && height(&join).0 < height(&skip).1, "level {level}");
    }
    assert!(feeds(&of("up1b"), &of("out")));
}

#[test]
fn wavenet_is_causal_and_a_stack_of_it_reaches_back_1024_samples() {
    let shapes: Vec<_> = layers("wavenet", "wavenet:").into_iter().map(|(shape, _)| shape.axes()[2]).collect();
    for axis in &shapes {
        assert_eq!((axis.padding, axis.padding_end()), (axis.extent() - 1, 0));
    }
    let dilated = layers("wavenet", "wavenet:dilated");
    let receptive_field = 1 + dilated.iter().map(|(shape, _)| shape.axes()[2].extent() - 1).sum::<usize>();
    assert_eq!(receptive_field, 1024, "van den Oord et al. 2016, section 2.1");
}

#[test]
fn deepbench_is_as_long_as_the_list_it_was_published_as() {
    assert_eq!(set("deepbench").repetitions().iter().sum::<usize>(), 94);
    let batches: HashSet<usize> = set("deepbench").shapes().iter().map(|named| named.shape.batch()).collect();
    assert_eq!(batches, HashSet::from([4, 8, 16, 32]));
}

#[test]
fn core_is_small_and_has_every_kind() {
    let shapes: Vec<ConvShape> = set("core").shapes().into_iter().map(|named| named.shape).collect();
    assert!(shapes.len() <= 16);
    // A reader that times each for about a second must not wait for one of them.
    assert!(shapes.iter().all(|shape| shape.flops() < 6e9));
    let some = |kind: fn(&ConvShape) -> bool| shapes.iter().any(kind);
    let kernel = |shape: &ConvShape| shape.axes().map(|axis| axis.kernel);
    assert_eq!([1, 2, 3].map(|rank| shapes.iter().any(|shape| shape.rank() == rank)), [true; 3]);
    assert!(
        some(|s| s.groups() > 1 && s.groups() == s.in_channels())
            && some(|s| s.groups() > 1 && s.group_in_channels() > 1)
    );
    for (side, stride) in [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2), (5, 1), (15, 1), (31, 1)] {
        let of_kind = |s: &&ConvShape| kernel(s) == [1, side, side] && s.axes()[2].stride == stride;
        assert!(shapes.iter().any(|s| of_kind(&s)), "no {side}x{side} kernel with stride {stride}");
    }
    assert!(some(|s| s.axes()[2].dilation > 1));
}

#[test]
fn the_image_set_covers_every_kernel_on_every_input_it_fits() {
    let listed: HashSet<ConvShape> = set("image").shapes().into_iter().map(|named| named.shape).collect();
    let sizes = |pick: fn(&ConvShape) -> usize| -> Vec<usize> {
        let mut sizes: Vec<_> = listed.iter().map(pick).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    };
    let inputs = sizes(|shape| shape.axes()[2].input);
    let kernels = sizes(|shape| shape.axes()[2].kernel);
    assert_eq!([inputs[0], inputs[inputs.len() - 1]], [5, 512]);
    assert_eq!([kernels[0], kernels[kernels.len() - 1]], [1, 31]);
    let mut expected = HashSet::new();
    for &input in &inputs {
        for &kernel in kernels.iter().filter(|&&kernel| kernel <= input) {
            expected.insert(ConvShape::conv2d(1, 1, [input; 2], 1, [kernel; 2]).build().expect("the kernel fits"));
        }
    }
    assert_eq!(listed, expected);
}

#[test]
fn the_growing_problems_reach_from_a_million_to_a_trillion_operations() {
    let problems = convgrad::NamedShape::read_list(include_str!("../benches/growth.txt")).unwrap();
    let flops = |family: &str| -> Vec<f64> {
        let of_family =
            problems.iter().filter(|named| named.name.as_deref().is_some_and(|name| name.starts_with(family)));
        of_family.map(|named| named.shape.flops()).collect()
    };
    let layers = flops("layer_");
    assert!(layers[0] < 1.1e6 && layers[layers.len() - 1] > 1e12);
    for family in [layers, flops("batch_"), flops("image_")] {
        assert!(family.len() >= 3);
        assert!(family.windows(2).all(|pair| pair[0] < pair[1] && pair[1] < 20.0 * pair[0]), "{family:?}");
    }
}
