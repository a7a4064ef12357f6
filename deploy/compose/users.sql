-- The table of the auth service, which workers read alone. With a platform of your own point
-- DB_HOST at its database instead.
CREATE TABLE IF NOT EXISTS users (
    id integer PRIMARY KEY,
    email varchar(255) UNIQUE,
    username varchar(100),
    hashed_password varchar(255),
    full_name varchar(255) NULL,
    is_active bool,
    is_verified bool
);
INSERT INTO users (id, email, username, is_active, is_verified)
VALUES (1, 'ada@example.com', 'ada', true, true) ON CONFLICT DO NOTHING;
