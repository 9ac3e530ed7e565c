from django.db import migrations, models


def tune(apps, schema_editor):  # type: ignore[no-untyped-def]
    """Keep names that differ in case, accents or blanks different on MySQL."""
    connection = schema_editor.connection
    if connection.vendor == 'mysql':
        collation = 'utf8mb4_nopad_bin' if connection.mysql_is_mariadb else 'utf8mb4_0900_bin'
        for table in ('mainspring_lease', 'mainspring_fence'):
            schema_editor.execute(f'ALTER TABLE {table} CONVERT TO CHARACTER SET utf8mb4 COLLATE {collation}')


class Migration(migrations.Migration):

    dependencies = [('mainspring', '0005_order')]

    operations = [
        migrations.CreateModel(
            name='Lease',
            fields=[
                (
                    'pk',
                    models.CompositePrimaryKey(
                        'name', 'token', blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ('name', models.CharField(max_length=200)),
                ('token', models.BigIntegerField()),
                ('expires_at', models.BigIntegerField()),
            ],
            options={'db_table': 'mainspring_lease'},
        ),
        migrations.CreateModel(
            name='Fence',
            fields=[
                ('name', models.CharField(max_length=200, primary_key=True, serialize=False)),
                ('token', models.BigIntegerField()),
            ],
            options={
                'db_table': 'mainspring_fence',
                'indexes': [models.Index(fields=['token'], name='mainspring_fence_token')],
            },
        ),
        migrations.RunPython(tune, migrations.RunPython.noop, atomic=False),
    ]
