-- How much of a charge would come from money that is not aged yet, as billing_debit splits it: 0 where that refuses it
-- anyhow. The caller holds the wallet's lock. Nothing is written.
CREATE OR REPLACE FUNCTION billing_fresh_part(
    p_customer bigint, p_cost_wei numeric, p_rate bigint, p_markup_bps int, p_promo_ok boolean
) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN w.debt_nano_usd > 0 OR paid < charge - promo THEN 0
                ELSE greatest(0, charge - promo - (paid - w.fresh_nano_usd)) END
    FROM billing_wallet w, billing_ethusdrate r,
         LATERAL (SELECT billing_price_nano_usd(p_cost_wei, r.nano_usd_per_eth, p_markup_bps) AS charge) priced,
         LATERAL (SELECT w.available_nano_usd - w.promo_nano_usd AS paid,
                         CASE WHEN p_promo_ok THEN least(w.promo_nano_usd, charge) ELSE 0 END AS promo) parts
    WHERE w.customer_id = p_customer AND r.id = p_rate
$$;
REVOKE EXECUTE ON FUNCTION billing_fresh_part(bigint, numeric, bigint, int, boolean) FROM PUBLIC;
