//! Topics, filters, their set algebra, match tries and interest sets
