//! Named sets of named shapes: the one list that benches draw from, and any program that compares backends may.
//!
//! A set is a text file of the problem grammar (see [`NamedShape`]) whose first line says what it is. Adding one is that
//! file and one line in the list below; every reader iterates the list. Networks are listed at batch 8, each distinct
//! convolution once, under the names their authors' published models give the layers.

use crate::shape::NamedShape;

/// A named set of shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShapeSet {
    name: &'static str,
    text: &'static str,
}

impl ShapeSet {
    /// The name by which users choose this set.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// One line on what the set holds.
    pub fn description(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches('#').trim()
    }

    /// The shapes, in the order of their file.
    pub fn shapes(&self) -> Vec<NamedShape> {
        NamedShape::read_list(self.text).expect("the tests of this file read every set")
    }
}

/// All sets, the smallest problems first.
///
/// ```
/// for set in convgrad::catalog::sets() {
///     println!("{:10} {:3} shapes: {}", set.name(), set.shapes().len(), set.description());
/// }
/// ```
pub fn sets() -> &'static [ShapeSet] {
    &SETS
}

/// The shapes of the set of this name, if there is one.
///
/// ```
/// let layers = convgrad::catalog::set("resnet50").expect("the set exists");
/// assert_eq!(layers[0].to_string(), "mb8ic3ih224oc64oh112kh7sh2ph3n\"resnet_50:conv1\"");
/// assert!(convgrad::catalog::set("resnet51").is_none());
/// ```
pub fn set(name: &str) -> Option<Vec<NamedShape>> {
    SETS.iter().find(|set| set.name == name).map(ShapeSet::shapes)
}

static SETS: [ShapeSet; 7] = [
    ShapeSet { name: "example", text: include_str!("catalog/example.txt") },
    ShapeSet { name: "tiny", text: include_str!("catalog/tiny.txt") },
    ShapeSet { name: "lenet", text: include_str!("catalog/lenet.txt") },
    ShapeSet { name: "image", text: include_str!("catalog/image.txt") },
    ShapeSet { name: "mobilenet", text: include_str!("catalog/mobilenet.txt") },
    ShapeSet { name: "resnet50", text: include_str!("catalog/resnet50.txt") },
    ShapeSet { name: "vgg16", text: include_str!("catalog/vgg16.txt") },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::ConvShape;
    use std::collections::HashSet;

    #[test]
    fn every_set_reads_describes_itself_and_is_in_canonical_form() {
        for set in sets() {
            let shapes = NamedShape::read_list(set.text).unwrap_or_else(|e| panic!("{}: {e}", set.name));
            assert!(!shapes.is_empty(), "{} is empty", set.name);
            assert!(
                set.text.starts_with("# ") && set.description().ends_with('.'),
                "{} lacks its first line",
                set.name
            );
            let descriptors: Vec<_> = NamedShape::descriptors(set.text).map(|(_, descriptor)| descriptor).collect();
            assert_eq!(descriptors, shapes.iter().map(NamedShape::to_string).collect::<Vec<_>>());
        }
    }

    #[test]
    fn names_are_unique_over_all_sets_and_shapes_within_a_set() {
        let mut set_names = HashSet::new();
        let mut names = HashSet::new();
        for set in sets() {
            assert!(set_names.insert(set.name), "two sets are called {}", set.name);
            let mut shapes = HashSet::new();
            for NamedShape { shape, name } in set.shapes() {
                let name = name.unwrap_or_else(|| panic!("{shape} in {} has no name", set.name));
                assert!(shapes.insert(shape), "{shape} is twice in {}", set.name);
                assert!(names.insert(name.clone()), "two shapes are called {name}");
            }
        }
    }

    /// Whether a layer with the shape `next` can read what one with the shape `before` gives, as it is or pooled.
    fn feeds(before: &ConvShape, next: &ConvShape) -> bool {
        let reaches = |(from, to): (usize, usize)| to == from || to == from / 2;
        let sizes = before.axes().iter().map(|a| a.output).zip(next.axes().iter().map(|a| a.input));
        before.batch() == next.batch() && before.out_channels() == next.in_channels() && sizes.into_iter().all(reaches)
    }

    #[test]
    fn the_layers_of_a_network_feed_each_other() {
        for (name, image) in [("lenet", [1, 32]), ("vgg16", [3, 224]), ("resnet50", [3, 224]), ("mobilenet", [3, 224])]
        {
            let layers = set(name).expect("the set exists");
            let first = &layers[0].shape;
            assert_eq!(
                [first.in_channels(), first.axes()[1].input, first.axes()[2].input],
                [image[0], image[1], image[1]]
            );
            for next in &layers[1..] {
                assert!(layers.iter().any(|before| feeds(&before.shape, &next.shape)), "nothing feeds {next}");
            }
        }
    }

    /// Multiply-adds of one image through the network, each layer as often as the comment on its line says.
    fn multiply_adds(name: &str) -> f64 {
        let set = sets().iter().find(|set| set.name == name).expect("the set exists");
        let lines = set.text.lines().filter(|line| !line.starts_with('#'));
        let of_line = |line: &str| {
            let shape: ConvShape = line.split("  #").next().unwrap_or_default().parse().expect("the line is a shape");
            let comment = line.split_once("  # ").and_then(|(_, comment)| comment.split_once(" times"));
            let times: f64 = comment.map_or(1.0, |(count, _)| count.parse().expect("a count"));
            times * shape.flops() / 2.0 / shape.batch() as f64
        };
        lines.map(of_line).sum()
    }

    #[test]
    fn networks_cost_what_their_papers_say() {
        // VGG-16 and ResNet-50: 15.3e9 and 3.8e9 (He et al. 2016); MobileNet: 569e6 (Howard et al. 2017), of which the
        // fully connected layer is 1e6.
        for (name, published, rounding) in
            [("vgg16", 15.3e9, 0.1e9), ("resnet50", 3.8e9, 0.1e9), ("mobilenet", 568e6, 1e6)]
        {
            let counted = multiply_adds(name);
            assert!((counted - published).abs() < rounding, "{name}: {counted:e} for {published:e}");
        }
    }

    #[test]
    fn the_image_set_covers_every_kernel_on_every_input_it_fits() {
        let sizes = |pick: fn(&ConvShape) -> usize| -> Vec<usize> {
            let mut sizes: Vec<_> = set("image").expect("the set exists").iter().map(|n| pick(&n.shape)).collect();
            sizes.sort_unstable();
            sizes.dedup();
            sizes
        };
        let inputs = sizes(|shape| shape.axes()[2].input);
        let kernels = sizes(|shape| shape.axes()[2].kernel);
        assert_eq!([inputs[0], inputs[inputs.len() - 1]], [5, 512]);
        assert_eq!([kernels[0], kernels[kernels.len() - 1]], [1, 31]);
        let listed: HashSet<_> = set("image").expect("the set exists").into_iter().map(|n| n.shape).collect();
        let mut expected = HashSet::new();
        for &input in &inputs {
            for &kernel in kernels.iter().filter(|&&kernel| kernel <= input) {
                expected.insert(ConvShape::conv2d(1, 1, [input; 2], 1, [kernel; 2]).build().expect("the kernel fits"));
            }
        }
        assert_eq!(listed, expected);
    }
}
