//! Flow control as Prometheus sees it.
//!
//! Names and labels are those of `k8s.io/apiserver/pkg/util/flowcontrol/metrics`, of which the stable and beta ones are
//! here.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Flow, FlowControl};

macro_rules! name {
    ($name:literal) => {
        concat!("apiserver_flowcontrol_", $name)
    };
}

/// Reads the counts when it is asked.
#[derive(Debug)]
pub struct FlowControlMetrics(pub Arc<FlowControl>);

impl std::fmt::Debug for FlowControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowControl").finish_non_exhaustive()
    }
}

type Count = fn(&Flow) -> i64;
type Labels<'a> = [(&'static str, &'a str)];

impl Collector for FlowControlMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let config = self.0.config();
        let flows = config.flows.iter().filter(|flow| flow.counts.is_used()).cloned().collect::<Vec<_>>();
        if flows.is_empty() {
            return Ok(());
        }
        self.gauges(&mut encoder, &flows)?;
        let dispatched = |flow: &Flow| flow.counts.dispatched.load(Ordering::Relaxed);
        let help = "[BETA] Requests that got a seat";
        let mut family = encoder.encode_descriptor(name!("dispatched_requests"), help, None, MetricType::Counter)?;
        for flow in &flows {
            one(&mut family, &labels(flow), &ConstCounter::new(dispatched(flow)))?;
        }
        rejected(&mut encoder, &flows)?;
        let help = "[BETA] Seconds that requests waited for a seat";
        let wait = name!("request_wait_duration_seconds");
        let mut family = encoder.encode_descriptor(wait, help, None, MetricType::Histogram)?;
        for flow in flows.iter().filter(|flow| !flow.level.exempt) {
            let [schema, level] = labels(flow);
            let counts = &flow.counts;
            one(&mut family, &[("execute", "true"), schema, level], &counts.waits)?;
            if counts.timed_out.load(Ordering::Relaxed) > 0 {
                one(&mut family, &[("execute", "false"), schema, level], &counts.waits_in_vain)?;
            }
        }
        Ok(())
    }
}

impl FlowControlMetrics {
    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>, flows: &[Arc<Flow>]) -> Result<(), Error> {
        let executing: Count = |flow| flow.counts.executing.load(Ordering::Relaxed);
        let waiting: Count = |flow| flow.counts.waiting.load(Ordering::Relaxed);
        let gauges: [(&str, &str, Count); 3] = [
            (name!("current_executing_requests"), "[BETA] Requests that are worked on", executing),
            (name!("current_executing_seats"), "[BETA] Seats that are taken", executing),
            (name!("current_inqueue_requests"), "[BETA] Requests that wait for a seat", waiting),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for flow in flows {
                one(&mut family, &labels(flow), &ConstGauge::new(value(flow)))?;
            }
        }
        let help = "[BETA] Seats of a level";
        let mut family = encoder.encode_descriptor(name!("nominal_limit_seats"), help, None, MetricType::Gauge)?;
        let levels = self.0.levels.lock();
        for (level, seats) in levels.nominal() {
            let seats = i64::try_from(seats).unwrap_or(i64::MAX);
            one(&mut family, &[("priority_level", level)], &ConstGauge::new(seats))?;
        }
        Ok(())
    }
}

fn rejected(encoder: &mut DescriptorEncoder<'_>, flows: &[Arc<Flow>]) -> Result<(), Error> {
    let help = "[BETA] Requests that got no seat";
    let mut family = encoder.encode_descriptor(name!("rejected_requests"), help, None, MetricType::Counter)?;
    for flow in flows {
        let [schema, level] = labels(flow);
        let counts = &flow.counts;
        let full = if flow.level.queues() { "queue-full" } else { "concurrency-limit" };
        for (reason, count) in [(full, &counts.rejected), ("time-out", &counts.timed_out)] {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                one(&mut family, &[schema, level, ("reason", reason)], &ConstCounter::new(count))?;
            }
        }
    }
    Ok(())
}

fn labels(flow: &Flow) -> [(&'static str, &str); 2] {
    [("flow_schema", &flow.schema.name), ("priority_level", &flow.level.name)]
}

fn one(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, metric: &dyn EncodeMetric) -> Result<(), Error> {
    metric.encode(family.encode_family(&labels)?)
}
