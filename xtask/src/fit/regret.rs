//! The regret of a choice: by how much what was chosen is slower than the fastest.

use super::times::{Record, Setting, Times, Use};
use super::weights::{self, Fitted, Subject};
use anyhow::{Context, Result};
use convgrad::auto::{Auto, Rates};
use convgrad::{ConvShape, Isa, Registered};

/// Who chooses.
pub enum Chooser<'a> {
    /// The first backend of the registry that computes the problem.
    First,
    /// [`Auto`], with the weights it was built with.
    Built,
    /// The estimate with other weights.
    Fitted(&'a Fitted),
}

/// The regret of one choice.
pub struct Regret {
    pub purpose: Use,
    pub setting: Setting,
    pub shape: ConvShape,
    pub chosen: String,
    pub fastest: String,
    /// `time(chosen) / time(fastest) - 1`.
    pub value: f64,
}

/// The regret of each shape measured, beside the fastest backend that the chooser's limits allow.
pub fn of(times: &Times, chooser: &Chooser) -> Result<Vec<Regret>> {
    let regrets = times.records.iter().map(|record| match record.setting.dtype.as_str() {
        "f64" => of_record::<f64>(times, record, chooser),
        _ => of_record::<f32>(times, record, chooser),
    });
    Ok(regrets.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn of_record<T: Registered>(times: &Times, record: &Record, chooser: &Chooser) -> Result<Option<Regret>> {
    let Setting { isa: isa_name, dtype, threads, .. } = &record.setting;
    // What this processor has not, it cannot judge.
    let Ok(isa) = Isa::by_name(isa_name) else { return Ok(None) };
    let rates: Rates = *times.rates.get(&(isa_name.clone(), dtype.clone())).context("times without rates")?;
    let auto = Auto::<T>::on(isa).layout(record.setting.layout()).threads(*threads).rates(rates);
    let explanation = auto.explain(record.setting.op(), &record.shape);
    let legal: Vec<&str> = explanation.candidates.iter().filter(|c| c.refusal.is_none()).map(|c| c.backend).collect();
    let chosen = match chooser {
        Chooser::First => legal.first().map(|&name| name.to_owned()),
        Chooser::Built => explanation.choice.map(|(name, _)| name.to_owned()),
        Chooser::Fitted(fitted) => {
            let costs =
                weights::terms_of(times, record).into_iter().filter(|(name, ..)| legal.contains(&name.as_str()));
            let seconds = costs.filter_map(|(name, terms, cost)| {
                let weights = fitted.get(&Subject::new(&name, cost.kernel, &record.setting))?;
                Some((weights.handicap * terms.seconds(weights, &record.shape, &cost, *threads), name))
            });
            seconds.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
        }
    };
    let timed = record.ms.iter().filter(|(name, _)| legal.contains(&name.as_str()));
    let fastest = timed.min_by(|a, b| a.1.total_cmp(b.1));
    let (Some(chosen), Some((fastest, least))) = (chosen, fastest) else { return Ok(None) };
    // What was too slow to be kept is slower than all that was.
    let slowest = record.ms.values().copied().fold(0.0, f64::max);
    let ms = record.ms.get(&chosen).copied().unwrap_or(slowest);
    let (purpose, setting) = (record.purpose, record.setting.clone());
    Ok(Some(Regret {
        purpose,
        setting,
        shape: record.shape,
        chosen,
        fastest: fastest.clone(),
        value: ms / least - 1.0,
    }))
}

/// Mean (geometric), 95th percentile, worst.
pub fn summary<'a>(regrets: impl Iterator<Item = &'a Regret>) -> Option<[f64; 3]> {
    let mut values: Vec<f64> = regrets.map(|regret| regret.value).collect();
    values.sort_by(f64::total_cmp);
    let mean = (values.iter().map(|value| value.ln_1p()).sum::<f64>() / values.len() as f64).exp_m1();
    let percentile = *values.get((values.len() * 95).div_ceil(100).checked_sub(1)?)?;
    Some([mean, percentile, *values.last()?])
}

/// One line for all settings and one for each.
pub fn print<'a>(name: &str, regrets: impl Iterator<Item = &'a Regret>) {
    let regrets: Vec<&Regret> = regrets.collect();
    let line = |what: &str, regrets: &[&Regret]| {
        if let Some([mean, percentile, worst]) = summary(regrets.iter().copied()) {
            let [mean, percentile, worst] = [mean, percentile, worst].map(|part| 100.0 * part);
            println!(
                "  {what:28} {:5} shapes   mean {mean:6.2} %   95 % below {percentile:6.1} %   worst {worst:6.1} %",
                regrets.len()
            );
        }
    };
    line(name, &regrets);
    let mut settings: Vec<&Setting> = regrets.iter().map(|regret| &regret.setting).collect();
    settings.sort();
    settings.dedup();
    for setting in settings {
        let of_setting: Vec<&Regret> = regrets.iter().filter(|regret| regret.setting == *setting).copied().collect();
        line(&format!("  {setting}"), &of_setting);
    }
}

/// The shapes whose regret is beyond a part.
pub fn print_worst(regrets: &[Regret], least: f64) {
    let mut worst: Vec<&Regret> = regrets.iter().filter(|regret| regret.value > least).collect();
    worst.sort_by(|a, b| b.value.total_cmp(&a.value));
    for Regret { purpose, setting, shape, chosen, fastest, value } in worst {
        println!("{:6.1} %  {purpose} {setting} {shape}: {chosen}, {fastest} is faster", 100.0 * value);
    }
}
