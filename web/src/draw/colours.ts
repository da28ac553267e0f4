// Colours of lanes, the most urgent first: told apart by those who see fewer colours too, and
// never the only sign (the tables have numbers).
export const COLOURS = ['#d7263d', '#f46036', '#e0a100', '#1b998b', '#2f74c0', '#6a4c93', '#a05195', '#7a7a7a'];
