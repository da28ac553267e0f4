//! Which of some filters is the nearest to a topic, and where they part.

use std::cmp::Reverse;

/// Says in words where the nearest of these filters differs from the topic.
pub(super) fn nearest<'a>(filters: impl Iterator<Item = &'a str>, topic: &str) -> String {
    let levels = |text: &str| text.split('/').count();
    let parted = filters.map(|filter| (filter, common(filter, topic)));
    // Of those that agree as far, the one of about as many levels.
    let key = |(filter, same): &(&str, usize)| (*same, Reverse(levels(filter).abs_diff(levels(topic))));
    let Some((filter, same)) = parted.max_by_key(key) else { return "subscribe to it".to_owned() };
    let level = |text: &'a str| text.split('/').nth(same);
    let wants = match (level(filter), topic.split('/').nth(same)) {
        (Some(wants), Some(has)) if wants.eq_ignore_ascii_case(has) => {
            format!("the filter has `{wants}` and the topic `{has}`: upper and lower case are told apart")
        }
        (Some(wants), Some(has)) => format!("the filter has `{wants}` and the topic `{has}`"),
        (None, Some(has)) => format!("the filter has ended and the topic goes on with `{has}`: end it with `/**`"),
        (Some(wants), None) => format!("the topic has ended and the filter wants `{wants}`"),
        (None, None) => "they differ in what `**` stands for".to_owned(),
    };
    format!("nearest is `{filter}`: at level {} {wants}", same + 1)
}

/// How many levels agree from the beginning; all up to the first `**`.
fn common(filter: &str, topic: &str) -> usize {
    let mut topic = topic.split('/');
    filter
        .split('/')
        .take_while(|level| *level != "**" && topic.next().is_some_and(|has| *level == "*" || *level == has))
        .count()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn it_is_said_at_which_level_the_nearest_filter_differs() {
        let says = |filters: &[&str], topic: &str| nearest(filters.iter().copied(), topic);
        let all = ["bills/**", "orders/*/eu", "orders/gold"];
        assert_eq!(
            says(&all, "orders/gold/us"),
            "nearest is `orders/*/eu`: at level 3 the filter has `eu` and the topic `us`"
        );
        assert!(says(&["orders/gold"], "orders/gold/us").ends_with("goes on with `us`: end it with `/**`"));
        assert!(says(&["orders/gold/us"], "orders/gold").ends_with("the topic has ended and the filter wants `us`"));
        assert!(says(&["Orders/**"], "orders/1").contains("upper and lower case"));
        assert!(says(&["a/**/z"], "a/b").contains("at level 2 the filter has `**`"));
        assert_eq!(says(&[], "a"), "subscribe to it");
    }
}
