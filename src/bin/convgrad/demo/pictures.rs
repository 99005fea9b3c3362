//! Pictures in and out of files: the embedded photograph, and what `--save` leaves behind.

use super::photograph::Learned;
use crate::output::Output;
use anyhow::Context;
use plotters::prelude::*;
use std::path::Path;

/// A grayscale picture, row by row, black 0 and white 1.
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` brightnesses.
    pub pixels: Vec<f32>,
}

impl Picture {
    /// Reads a PNG of 8-bit grayscale.
    pub fn decode(bytes: &[u8]) -> anyhow::Result<Picture> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
        let kind = reader.output_color_type();
        anyhow::ensure!(
            kind == (png::ColorType::Grayscale, png::BitDepth::Eight),
            "the picture is {kind:?}: give one of 8-bit grayscale"
        );
        let size = reader.output_buffer_size().context("the picture is too large")?;
        let mut values = vec![0; size];
        let info = reader.next_frame(&mut values)?;
        let pixels = values.iter().map(|&v| f32::from(v) / 255.0).collect();
        Ok(Picture { width: info.width as usize, height: info.height as usize, pixels })
    }

    /// A picture of values of either sign: zero is mid-gray, `-full` black, `full` white, and what is beyond is cut off.
    fn of_signed([width, height]: [usize; 2], values: &[f32], full: f32) -> Picture {
        Picture { width, height, pixels: values.iter().map(|v| (0.5 + 0.5 * v / full).clamp(0.0, 1.0)).collect() }
    }

    /// Writes a PNG of 8-bit grayscale.
    fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let values: Vec<u8> = self.pixels.iter().map(|p| (255.0 * p).round() as u8).collect();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, u32::try_from(self.width)?, u32::try_from(self.height)?);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&values)?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// Writes the photograph, the target, the result and the loss curve, and returns the names of the files.
pub fn save(directory: &Path, learned: &Learned) -> anyhow::Result<[&'static str; 4]> {
    // Nearly all edges are far weaker than the strongest, so that the scale is set by an ordinary strong one.
    let full = 4.0 * root_mean_square(&learned.target);
    let edges = |values: &[f32]| Picture::of_signed(learned.output_size, values, full).encode();
    let files = [
        ("input.png", learned.photograph.encode()?),
        ("target.png", edges(&learned.target)?),
        ("result.png", edges(&learned.result)?),
        ("loss.svg", loss_curve(&learned.errors)?.into_bytes()),
    ];
    for (name, bytes) in &files {
        let mut output = Output::create("--save", &directory.join(name))?;
        output.fill(|file| Ok(file.write_all(bytes)?))?;
        output.publish()?;
    }
    Ok(files.map(|(name, _)| name))
}

fn root_mean_square(values: &[f32]) -> f32 {
    (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt()
}

/// The error over the steps, as SVG, on a logarithmic scale: gradient descent falls by a factor a step, a line there.
fn loss_curve(errors: &[f64]) -> anyhow::Result<String> {
    let highest = errors.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let lowest = errors.iter().copied().filter(|&e| e > 0.0).fold(highest, f64::min);
    let decade = |e: f64, round: fn(f64) -> f64| 10f64.powf(round(e.log10()));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (800, 480)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption("Learning Sobel's filter from a photograph", ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(84)
            .build_cartesian_2d(
                0..errors.len() - 1,
                (decade(lowest, f64::floor)..decade(highest, f64::ceil)).log_scale(),
            )?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc("error E = 1/2 sum (target - output)²")
            .label_style(("sans-serif", 15))
            .axis_desc_style(("sans-serif", 17))
            .y_labels(8)
            .y_label_formatter(&|e| format!("{e:.0e}"))
            .light_line_style(TRANSPARENT)
            .draw()?;
        let points = errors.iter().copied().enumerate().filter(|&(_, e)| e > 0.0);
        chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_survives_png() {
        let pixels: Vec<f32> = (0..=255u8).map(|v| f32::from(v) / 255.0).collect();
        let picture = Picture { width: 32, height: 8, pixels };
        let read = Picture::decode(&picture.encode().unwrap()).unwrap();
        assert_eq!((read.width, read.height), (32, 8));
        assert_eq!(read.pixels, picture.pixels);
    }

    #[test]
    fn what_is_no_grayscale_png_is_refused() {
        assert!(Picture::decode(b"P5 2 2 255").is_err());
        let mut colour = Vec::new();
        let mut encoder = png::Encoder::new(&mut colour, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&[1, 2, 3]).unwrap();
        let refusal = Picture::decode(&colour).err().unwrap().to_string();
        assert!(refusal.contains("8-bit grayscale"), "{refusal}");
    }

    #[test]
    fn signs_are_lighter_and_darker_than_gray() {
        let picture = Picture::of_signed([5, 1], &[-9.0, -1.0, 0.0, 1.0, 2.0], 2.0);
        assert_eq!(picture.pixels, [0.0, 0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn the_curve_is_an_svg_with_labelled_axes_even_when_an_error_is_zero() {
        let svg = loss_curve(&[3000.0, 20.0, 0.4, 0.0]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for label in ["step", "error E", "1e3", "1e0"] {
            assert!(svg.contains(label), "no {label} in {svg}");
        }
        let (_, curve) = svg.rsplit_once("<polyline").unwrap();
        let points: Vec<&str> = curve.split('"').find(|s| s.contains(',')).unwrap().split_whitespace().collect();
        let within = |point: &&str| {
            let (x, y) = point.split_once(',').unwrap();
            (0.0..800.0).contains(&x.parse().unwrap()) && (0.0..480.0).contains(&y.parse::<f64>().unwrap())
        };
        assert!(points.len() == 3 && points.iter().all(within), "{points:?}");
    }
}
