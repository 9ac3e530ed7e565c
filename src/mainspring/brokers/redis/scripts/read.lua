-- The records and the claims of the jobs in ARGV, as they are at one moment.
return {values_of(JOBS, ARGV), values_of(CLAIMS, ARGV)}
